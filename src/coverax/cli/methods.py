"""Calibration methods on the command line: one table, one line a method."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from coverax.calibrate import Calibration, Threshold


class Method(StrEnum):
    """Which guarantee."""

    FNR = "fnr"
    SETS = "sets"


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `coverax calibrate`; None where the method decides."""

    alpha: str
    tolerance: str | None
    delta: str | None
    empty: Any
    unit: str
    per_unit: Any
    seed: int
    inner: str | None
    outer: str | None
    joint: Any
    alpha_inner: str | None
    transforms: Path | None
    regions: Any


class _Calibrator(NamedTuple):
    """A method: what it makes of a table, how it speaks, the options it takes alone."""

    calibrate: "Callable[[Any, Request], Calibration]"
    describe: "Callable[[Threshold], str]"
    options: tuple[str, ...]


def check_options(method: Method, request: Request) -> None:
    """Refuse an option that belongs to other methods only."""
    for name in {name for entry in METHODS.values() for name in entry.options}:
        if getattr(request, name) is not None and name not in METHODS[method].options:
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} does not go with --method {method}")


def _calibrate_fnr(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_fnr

    return calibrate_fnr(
        table,
        request.alpha,
        tolerance=request.tolerance,
        delta=request.delta,
        empty=request.empty or "exclude",
        unit_column=request.unit,
        per_unit=request.per_unit,
        seed=request.seed,
    )


def _calibrate_sets(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_sets, read_learned

    learned = None if request.transforms is None else read_learned(request.transforms)
    return calibrate_sets(
        table,
        request.alpha,
        inner=request.inner,
        outer=request.outer,
        joint=request.joint or "bonferroni",
        alpha_inner=request.alpha_inner,
        learned=learned,
        regions=request.regions or "each",
        empty=request.empty or "include",
        unit_column=request.unit,
        per_unit=request.per_unit,
        seed=request.seed,
    )


def _lesion(threshold: "Threshold") -> str:
    good = threshold.status.name == "OK"
    return f"probability >= {threshold.probability:.6g}" if good else "everything"


def _side(threshold: "Threshold") -> str:
    sign, value = (">", threshold.value)
    if threshold.side == "outer":
        sign, value = (">=", 0.0 - threshold.value)
    if threshold.status.name != "OK":
        return "outer set everything" if threshold.side == "outer" else "no inner set"
    return f"{threshold.side} set {{score map {sign} {value:.6g}}}"


METHODS = {
    Method.FNR: _Calibrator(_calibrate_fnr, _lesion, ("tolerance", "delta")),
    Method.SETS: _Calibrator(
        _calibrate_sets,
        _side,
        ("inner", "outer", "joint", "alpha_inner", "transforms", "regions"),
    ),
}
