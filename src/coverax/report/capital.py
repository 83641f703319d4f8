"""The capital of a monitor over time."""

from pathlib import Path
from typing import Any

from coverax.calibrate import Calibration
from coverax.files import PathLike, publishing
from coverax.report.axes import axes_of
from coverax.validate import read_memory, watched_capitals


def draw_capital(calibration: Calibration, state: PathLike, path: PathLike) -> None:
    """Draw every capital of a state after each unit, and where the alarm lies.

    Args:
        calibration: What is watched.
        state: The state file of its monitor.
        path: The picture to write; its ending says the format.

    Raises:
        ValueError: The state is of another calibration, or altered.
    """
    from matplotlib.figure import Figure

    path = Path(path)
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    plot_capital(calibration, state, ax=figure.subplots())
    with publishing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png")


def plot_capital(calibration: Calibration, state: PathLike, *, ax: Any = None) -> Any:
    """Every capital of a state after each unit, and where the alarm lies.

    Args:
        calibration: What is watched.
        state: The state file of its monitor.
        ax: Axes to draw on; new ones by default.

    Returns:
        The matplotlib axes.

    Raises:
        ValueError: The state is of another calibration, or altered, or matplotlib is not
            installed.
    """
    memory = read_memory(Path(state))
    capitals = watched_capitals(calibration, memory)
    axes = axes_of(ax)
    for name, capital in capitals.items():
        steps = range(1, len(capital) + 1)
        style = "-" if name.startswith("references") else ":"
        axes.plot(steps, capital, style, label=name)
    axes.axhline(float(memory.limit), color="black", linewidth=1, label="alarm")
    axes.set(yscale="log", xlabel="new units", ylabel="share of the capital")
    axes.legend(fontsize="x-small")
    return axes
