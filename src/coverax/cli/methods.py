"""Calibration methods on the command line: one table, one line a method."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from coverax.choices import (
    AnyLoss,
    BoundName,
    ConfidentAt,
    CorrectionName,
    EmptyPolicy,
    FnrScore,
    Joint,
    Kind,
    Method,
    OneSided,
    PerUnit,
    RaterRule,
    Regions,
    Safe,
    VolumeScale,
)
from coverax.cli.common import parse_alpha, usage_errors

if TYPE_CHECKING:
    from coverax.calibrate import Calibration, Policy, Threshold

WhichScore = Annotated[
    FnrScore | None,
    typer.Option(
        help="fnr: one cut for all maps, or in each map a share of its mass (of tables "
        "scored with it). [default: critical]"
    ),
]


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `coverax calibrate`; None where the method decides."""

    alpha: str
    tolerance: str | None
    delta: str | None
    empty: EmptyPolicy | None
    unit: str
    per_unit: PerUnit | None
    raters: RaterRule | None
    seed: int
    inner: str | None
    outer: str | None
    joint: Joint | None
    alpha_inner: str | None
    transforms: Path | None
    regions: Regions | None
    group_by: str | None
    group_floor: int | None
    weights: str | None
    largest_weight: str | None
    loss: AnyLoss | None
    loss_file: Path | None
    safe: Safe | None
    bound: BoundName | None
    also: list[str] | None
    correction: CorrectionName | None
    break_ties: bool | None
    folds: bool | None
    vote: str | None
    estimate: str | None = None
    scale: VolumeScale | None = None
    one_sided: OneSided | None = None
    change: bool | None = None
    bad_below: str | None = None
    confidence: str | None = None
    confident_at: ConfidentAt | None = None
    cut: str | None = None
    score: FnrScore | None = None


class _Calibrator(NamedTuple):
    """A method: what it makes of a table, and the options it takes alone."""

    calibrate: "Callable[[Any, Request], Calibration]"
    options: tuple[str, ...]


def check_options(method: Method, request: Request) -> None:
    """Refuse an option that belongs to other methods only."""
    for name in {name for entry in METHODS.values() for name in entry.options}:
        if getattr(request, name) is not None and name not in METHODS[method].options:
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} does not go with --method {method}")


def _check_folds(request: Request, reasons: dict[str, str]) -> None:
    """Refuse what has no proof for folds, with the reason."""
    for name, why in reasons.items():
        if getattr(request, name) is not None:
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} does not go with --folds: {why}")


_ONE_FOLD = "it is stated for the map of one model, and no proof joins those of folds"
_FEW = "a fold has too few units of each group, and the promise is stated for all"
_NOT_PROVED = {
    "score": "the masks of folds are of one cut each",
    "delta": _ONE_FOLD,
    "weights": _ONE_FOLD,
    "largest_weight": _ONE_FOLD,
    "break_ties": _ONE_FOLD,
    "transforms": "what learn-sets chose, it chose on the maps of one model; name the "
    "transforms with --inner and --outer",
    "regions": "regions are calibrated each on its own",
    "bound": _ONE_FOLD,
    "loss_file": "a vote is proved to keep the share of missed voxels (fnr) alone",
    "group_by": _FEW,
    "group_floor": _FEW,
}


def _calibrate_fnr(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_fnr, calibrate_fold_fnr

    if request.folds:
        _check_folds(request, _NOT_PROVED)
        policy, tolerance = _policy(request), request.tolerance
        return calibrate_fold_fnr(table, request.alpha, policy, tolerance=tolerance)
    return calibrate_fnr(
        table,
        request.alpha,
        tolerance=request.tolerance,
        score=request.score or "critical",
        delta=request.delta,
        empty=request.empty or "exclude",
        unit_column=request.unit,
        per_unit=request.per_unit,
        seed=request.seed,
        group_by=request.group_by,
        group_floor=request.group_floor or 0,
        weights=request.weights,
        largest_weight=request.largest_weight,
        raters=request.raters,
        break_ties=bool(request.break_ties),
    )


def _policy(request: Request) -> "Policy":
    from coverax.calibrate import Policy

    return Policy(
        empty=request.empty or "exclude",
        unit_column=request.unit,
        per_unit=request.per_unit,
        seed=request.seed,
        group_by=request.group_by,
        group_floor=request.group_floor or 0,
        raters=request.raters,
    )


def _loss(request: Request) -> Any:
    """The loss that was named, or that of a file."""
    from coverax.calibrate import read_loss_curves

    if request.loss == "missed":
        raise typer.BadParameter("--loss missed goes with --method triage")
    if request.loss_file is None:
        if request.safe is not None:
            raise typer.BadParameter("--safe goes with --loss-file")
        return request.loss or "fnr"
    if request.loss is not None:
        raise typer.BadParameter("give either --loss or --loss-file")
    if request.safe is None:
        raise typer.BadParameter("--loss-file needs --safe small or --safe large")
    return read_loss_curves(request.loss_file, safe=request.safe)


def _delta(request: Request) -> str:
    if request.delta is None:
        raise typer.BadParameter("this method needs --delta")
    return request.delta


def _calibrate_crc(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_crc, calibrate_fold_crc

    policy = _policy(request)
    if request.folds:
        _check_folds(request, _NOT_PROVED)
        return calibrate_fold_crc(
            table,
            request.alpha,
            policy,
            loss=_loss(request),
            vote=request.vote or "majority",
        )
    if request.vote is not None:
        raise typer.BadParameter("--vote goes with --folds")
    return calibrate_crc(table, request.alpha, policy, loss=_loss(request))


def _calibrate_rcps(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_rcps

    return calibrate_rcps(
        table,
        request.alpha,
        _delta(request),
        _policy(request),
        loss=_loss(request),
        bound=request.bound or "wsr",
    )


def _calibrate_ltt(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_ltt

    return calibrate_ltt(
        table,
        request.alpha,
        _delta(request),
        _policy(request),
        loss=_loss(request),
        also=parse_levels(request.also or []),
        correction=request.correction,
    )


def parse_levels(pairs: list[str]) -> dict[Any, str]:
    """Parse `LOSS=LEVEL` pairs."""
    from coverax.calibrate import LOSSES

    levels: dict[Any, str] = {}
    for pair in pairs:
        loss, _, level = pair.partition("=")
        if loss not in LOSSES or not level:
            raise typer.BadParameter(
                f"--also takes LOSS=LEVEL with LOSS of {', '.join(LOSSES)}, got {pair!r}"
            )
        levels[loss] = parse_alpha(level)
    return levels


def _calibrate_sets(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_fold_sets, calibrate_sets, read_learned

    if request.per_unit == "all":
        raise typer.BadParameter("--per-unit all does not go with --method sets")
    if request.folds:
        _check_folds(request, _NOT_PROVED)
        return calibrate_fold_sets(
            table,
            request.alpha,
            _policy(request)._replace(empty=request.empty or "include"),
            inner=request.inner,
            outer=request.outer,
            joint=request.joint or "bonferroni",
            alpha_inner=request.alpha_inner,
        )
    if request.bound is not None and request.delta is None:
        raise typer.BadParameter("--bound goes with --delta")
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
        delta=request.delta,
        bound=request.bound or "clopper_pearson",
        raters=request.raters,
    )


def _calibrate_volume(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import calibrate_volume

    return calibrate_volume(
        table,
        request.alpha,
        _policy(request)._replace(empty=request.empty or "include"),
        delta=request.delta,
        estimate=request.estimate or "cut=0.5",
        scale=request.scale or "mass",
        one_sided=request.one_sided,
        regions=request.regions or "each",
        change=bool(request.change),
    )


def _calibrate_triage(table: Any, request: Request) -> "Calibration":
    from coverax.calibrate import Triage, calibrate_triage

    loss = request.loss or "dice"
    if loss not in ("dice", "missed", "fnr"):
        raise typer.BadParameter("--method triage takes --loss dice, missed or fnr")
    with usage_errors():
        rule = Triage(
            loss,
            request.bad_below,
            request.confidence or "sdc",
            request.cut or "0.5",
            request.confident_at,
        )
    policy = _policy(request)._replace(empty=request.empty or "include")
    return calibrate_triage(table, request.alpha, policy, triage=rule)


def _cut(threshold: "Threshold") -> str:
    if threshold.status.name != "OK":
        return "everything" if threshold.value >= 0 else "nothing"
    if threshold.score == "mass":
        return (
            f"largest cut with more than {threshold.value:.6g} of the mass of each map"
        )
    return f"probability >= {threshold.probability:.6g}"


def _side(threshold: "Threshold") -> str:
    sign, value = (">", threshold.value)
    if threshold.side == "outer":
        sign, value = (">=", 0.0 - threshold.value)
    if threshold.status.name != "OK":
        return "outer set everything" if threshold.side == "outer" else "no inner set"
    return f"{threshold.side} set {{score map {sign} {value:.6g}}}"


def _side_of_folds(threshold: "Threshold") -> str:
    return f"{_side(threshold)} where the scores of all folds agree"


def _interval(threshold: "Threshold") -> str:
    return f"volume whose score is at most {threshold.value:.6g}"


def _change(threshold: "Threshold") -> str:
    return f"change of volume whose score is at most {threshold.value:.6g}"


def _release(threshold: "Threshold") -> str:
    if threshold.side == "floor":
        return f"Dice at least 1 - {threshold.value:.6g} times the uncertainty"
    if abs(threshold.value) == float("inf"):
        return "every mask goes out" if threshold.value > 0 else "nothing goes out"
    return f"released where the uncertainty is below {threshold.value:.6g}"


# Kind of a calibration -> what its thresholds say.
DESCRIBE: "dict[Kind, Callable[[Threshold], str]]" = {
    "cut": _cut,
    "sides": _side,
    "fold_cuts": _cut,
    "fold_sides": _side_of_folds,
    "interval": _interval,
    "change": _change,
    "release": _release,
}
_GROUPS = ("group_by", "group_floor")
_LOSS = ("loss", "loss_file", "safe")
METHODS: dict[Method, _Calibrator] = {
    "fnr": _Calibrator(
        _calibrate_fnr,
        (
            "tolerance",
            "score",
            "delta",
            "weights",
            "largest_weight",
            "break_ties",
            *_GROUPS,
            "folds",
        ),
    ),
    "crc": _Calibrator(_calibrate_crc, (*_LOSS, *_GROUPS, "folds", "vote")),
    "rcps": _Calibrator(_calibrate_rcps, (*_LOSS, "delta", "bound", *_GROUPS)),
    "ltt": _Calibrator(
        _calibrate_ltt, (*_LOSS, "delta", "also", "correction", *_GROUPS)
    ),
    "sets": _Calibrator(
        _calibrate_sets,
        (
            *("inner", "outer", "joint", "alpha_inner", "transforms", "regions"),
            *("delta", "bound", "folds"),
        ),
    ),
    "volume": _Calibrator(
        _calibrate_volume,
        ("delta", "estimate", "scale", "one_sided", "regions", "change", *_GROUPS),
    ),
    "triage": _Calibrator(
        _calibrate_triage,
        ("loss", "bad_below", "confidence", "confident_at", "cut", *_GROUPS),
    ),
}
