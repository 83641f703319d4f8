"""Summaries of sites on the command line, in place of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import typer

from coverax.choices import LossName, RiskMethod

if TYPE_CHECKING:
    from coverax.calibrate import Calibration, SiteSummary
    from coverax.cli.methods import Request

# What a site has settled when it added up; with its default here.
_SETTLED = {"empty": None, "unit": "unit", "per_unit": None, "raters": None, "seed": 0}
_OF_TABLES = ("group_by", "group_floor", "loss_file", "safe", "folds", "vote")


def one_table(paths: list[Path]) -> Path:
    """The score table of a command that takes several files with --sites alone."""
    if len(paths) != 1:
        raise typer.BadParameter(
            f"one score table, got {len(paths)} files; --sites takes several summaries"
        )
    return paths[0]


def read_sites(
    paths: list[Path], method: str | None
) -> "tuple[list[SiteSummary], RiskMethod]":
    """The summaries, and a method for them."""
    from coverax.calibrate import read_summary

    known = get_args(RiskMethod)
    if method not in known:
        raise typer.BadParameter(f"--sites needs --method {', '.join(known)}")
    return [read_summary(path) for path in paths], cast(RiskMethod, method)


def calibrate_sums(paths: list[Path], method: str, request: "Request") -> "Calibration":
    """A calibration of the sums of sites."""
    from coverax.calibrate import calibrate_sites
    from coverax.cli.methods import parse_levels

    for name, default in _SETTLED.items():
        if getattr(request, name) != default:
            _refuse(name, "each site settles that with `coverax summarise`")
    for name in _OF_TABLES:
        if getattr(request, name) is not None:
            _refuse(name, "sums do not hold it")
    if request.bound not in (None, "hoeffding_bentkus"):
        _refuse("bound", "of the bounds, sums are enough for hoeffding_bentkus")
    sites, known = read_sites(paths, method)
    if known != "crc" and request.delta is None:
        raise typer.BadParameter("this method needs --delta")
    return calibrate_sites(
        sites,
        request.alpha,
        request.delta,
        method=known,
        loss=cast(LossName, request.loss or "fnr"),
        also=parse_levels(request.also or []),
        correction=request.correction,
    )


def _refuse(name: str, why: str) -> None:
    option = "--" + name.replace("_", "-")
    raise typer.BadParameter(f"{option} does not go with --sites: {why}")
