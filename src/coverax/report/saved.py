"""Figures as files: each as PNG and as SVG, the same bytes when drawn again."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coverax.files import PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figures(figures: "Mapping[str, Figure]", folder: PathLike) -> list[Path]:
    """Write figures by name into a folder that another makes whole; the files."""
    from matplotlib import rc_context

    folder, files = Path(folder), list[Path]()
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            path = folder / f"{name}.{kind}"
            metadata = {"Date": None} if kind == "svg" else None
            with rc_context({"svg.hashsalt": name}):  # else its names are random
                figure.savefig(path, dpi=150, metadata=metadata, facecolor="white")
            files.append(path)
    return files
