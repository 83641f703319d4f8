"""Lesions found against false lesions a scan, drawn."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from coverax.calibrate import Froc, FrocCurve
from coverax.calibrate.froc import RATES
from coverax.report.style import BLUE, ORANGE
from coverax.shown import plural

# Rates that are drawn: rarer false lesions lie on the left edge.
_LEAST, _MOST = float(RATES[0]) / 2, float(RATES[-1]) * 2
_PER_DOUBLING, _PER_SHARE = 64, 400  # finer steps would not be seen


def draw_froc(axes: Any, curve: FrocCurve, found: Froc) -> None:
    """The share of lesions found at every cut, and where challenges read it.

    Cuts are joined in their order, and the number of false lesions is not monotone: the
    curve may turn back.

    Args:
        axes: The matplotlib axes.
        curve: Of a region that has lesions.
        found: What was read of it.
    """
    false = np.clip(np.append(0, curve.n_false[::-1]) / curve.n_scans, _LEAST, _MOST)
    share = np.append(0, curve.n_hit[::-1]) / curve.n_lesions
    seen = np.stack([np.log2(false) * _PER_DOUBLING, share * _PER_SHARE]).round()
    moved = np.append(True, (np.diff(seen, axis=1) != 0).any(axis=0))
    axes.plot(false[moved], share[moved], color=BLUE, label="every cut")
    points = [p for p in found.at if p.cut is not None]
    rates = [max(p.false_per_scan, _LEAST) for p in points]
    shares = [p.sensitivity for p in points]
    label = "lowest cut that keeps to a rate"
    axes.plot(rates, shares, "o", color=ORANGE, label=label, clip_on=False)
    axes.set_xscale("log", base=2)
    axes.set(xlim=(_LEAST, _MOST), ylim=(0, 1.02))
    axes.set_xticks([float(rate) for rate in RATES], [str(rate) for rate in RATES])
    axes.set(xlabel="false lesions a scan", ylabel="share of lesions found")


def froc_words(found: Froc) -> str:
    """What was counted, and what was read in one number."""
    lesions = plural(found.n_lesions, "lesion")
    scans = plural(found.n_scans, "scan")
    mean = "" if found.mean_sensitivity is None else f"{found.mean_sensitivity:.1%}"
    read = f"; {mean} found on average over the rates" if mean else ""
    return f"{lesions} in {scans}{read}"


def curves_of_rows(
    rows: Iterable[Mapping[str, Any]], froc: Iterable[Froc]
) -> dict[str, FrocCurve]:
    """Curves by region, from rows as `froc.csv` has them and what was read of them."""
    rows = list(rows)
    curves: dict[str, FrocCurve] = {}
    for found in froc:
        own = [row for row in rows if row["region"] == found.region]
        cuts, n_hit, n_false = (
            np.array([row[name] for row in own], kind)
            for name, kind in (
                ("cut", np.float32),
                ("n_hit", np.int64),
                ("n_false", np.int64),
            )
        )
        curves[found.region] = FrocCurve(
            cuts, n_hit, n_false, found.n_lesions, found.n_scans
        )
    return curves
