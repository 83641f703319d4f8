"""What an evaluation says, in sentences."""

from collections.abc import Sequence

from coverax.calibrate import Band
from coverax.evaluate.cut_results import CutResult, Distances, FoldCutResult
from coverax.evaluate.other_results import IntervalResult, ReleaseResult
from coverax.evaluate.results import RegionResult, Summary
from coverax.evaluate.set_results import FoldSetsResult, SetsResult
from coverax.provenance import part_words
from coverax.shown import plural


def sentence(result: RegionResult, *, held_out: bool) -> str:
    """What happened in a region, beside its law where one applies.

    Args:
        result: Of the region.
        held_out: Whether no case was seen before.
    """
    if isinstance(result, IntervalResult):
        return _interval_covers(result, held_out=held_out)
    if isinstance(result, ReleaseResult):
        return _release_costs(result, held_out=held_out)
    if not isinstance(result, CutResult | FoldCutResult):
        return _left_to_see(result, held_out=held_out)
    words = _compliance if result.risks is None else _risks
    return words(result, held_out=held_out)


def measure_rows(
    result: CutResult | FoldCutResult | IntervalResult | ReleaseResult,
) -> list[list[str]]:
    """Measures of a region as text: a name, then a value a mask.

    Of a cut the masks are the calibrated one and the fixed one.
    """
    if isinstance(result, IntervalResult):
        rows = _interval_measures(result)
    elif isinstance(result, ReleaseResult):
        rows = _release_measures(result)
    else:
        return _cut_rows(result)
    return [[label, _text(value, form)] for label, value, form in rows]


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


_Measures = list[tuple[str, float | None, str]]


def _interval_measures(result: IntervalResult) -> _Measures:
    found = result.interval
    what = "change" if result.change else "volume"
    share = "estimate at the earlier visit" if result.change else "estimate"
    rows: _Measures = [
        (f"intervals that hold the {what}", found.coverage, "{:.1%}"),
        ("reference, mean mL", found.true_ml, "{:.3g}"),
        ("estimate, mean mL", found.volume_ml, "{:.3g}"),
        ("width, mean mL", found.width_ml, "{:.3g}"),
        ("width, median mL", found.width_ml_median, "{:.3g}"),
        (f"width, median share of the {share}", found.width_share_median, "{:.1%}"),
    ]
    if result.n_zero_excluded is not None:
        apart = result.n_zero_excluded / result.n_counted
        rows.append(("intervals that exclude zero", apart, "{:.1%}"))
    return rows


def _release_measures(result: ReleaseResult) -> _Measures:
    found = result.release
    rows: _Measures = [
        ("released", found.share_released, "{:.1%}"),
        ("loss of what goes out, over all cases", found.realised, "{:.4f}"),
        ("loss among the released", found.loss_of_released, "{:.4f}"),
        ("loss if all went out", found.loss_of_all, "{:.4f}"),
    ]
    if (floor := result.floor) is not None:
        rows += [
            ("cases at or above their floor of Dice", floor.coverage, "{:.1%}"),
            ("floor of Dice, median", floor.floor_median, "{:.3f}"),
            ("Dice, median", floor.dice_median, "{:.3f}"),
        ]
    return rows


def _cut_rows(result: CutResult | FoldCutResult) -> list[list[str]]:
    rows = [
        ("FNR, mean", "fnr_mean", "{:.3f}"),
        ("FNR, sd", "fnr_sd", "{:.3f}"),
        ("missed cases (P-FNR)", "p_fnr", "{:.1%}"),
        ("FPR, mean", "fpr", "{:.2%}"),
        ("predicted share of voxels (PC)", "pc", "{:.2%}"),
        ("Dice, mean", "dice", "{:.3f}"),
        ("precision, mean", "precision", "{:.3f}"),
        ("IoU, mean", "iou", "{:.3f}"),
        ("volume, mean mL", "volume_ml", "{:.3g}"),
    ]
    if result.tolerance is not None:  # a mean loss has no compliance of one case
        label = f"cases with FNR <= {result.tolerance} (ECR)"
        rows.insert(0, (label, "ecr", "{:.1%}"))
    if result.calibrated.lesion_detection is not None:
        rows += [
            ("lesions detected, mean share", "lesion_detection", "{:.1%}"),
            ("false lesions, mean number", "n_false_lesions", "{:.2f}"),
            ("lesions, mean F1", "lesion_f1", "{:.3f}"),
        ]
    if result.calibrated.nsd is not None:
        rows.append(("surface within the tolerance (NSD)", "nsd", "{:.1%}"))
    both = (result.calibrated, result.fixed)
    shown = [
        [name, *(_text(getattr(at, f), form) for at in both)] for name, f, form in rows
    ]
    if result.calibrated.hd95_mm is not None:
        each = [_distances(at.hd95_mm) for at in both]
        shown.append(["HD95, median mm (missed cases)", *each])
    return shown


def _distances(found: Distances | None) -> str:
    """Median of all cases; what is missed is infinitely far."""
    if found is None:
        return "-"
    median = "inf" if found.median is None else f"{found.median:.2f}"
    return f"{median} ({found.n_infinite})"


def why_not_held_out(summary: Summary) -> str:
    """Which cases were seen before the evaluation; empty where none was."""
    if summary.held_out:
        return ""
    why = f"{summary.n_units_seen_in_calibration} of {plural(summary.n_units, 'unit')} "
    why += "also calibrated or were learned from (by unit, case id or map)"
    if spent := part_words(summary.n_cases_of_spent_parts):
        why += f"; {spent}"
    return f"{why}; the band does not apply."


def all_regions_words(summary: Summary) -> str:
    """Cases of which every region is covered, where that is the promise."""
    every = summary.all_regions
    if every is None or every.found is None:
        return "All regions at once: no case counts in every region."
    found = every.found
    text = (
        f"All regions at once: {found.n_covered} of {every.n_counted} cases are "
        f"covered ({found.coverage:.1%})"
    )
    if not summary.held_out:
        return f"{text}."
    if found.expected is None or found.band is None:
        return f"{text}; at least {1 - summary.alpha:.1%} is promised."
    return f"{text}; {law_words(found.law, found.expected, found.band)}."


def law_words(law: str | None, expected: float, bands: Sequence[Band]) -> str:
    """The law in words: with ties its lower side alone."""
    band = bands[0]
    if law == "at_least":
        share = 1 - (1 - band.level) / 2
        return (
            f"scores tie, so the law says at least {expected:.1%}, and at or above "
            f"{band.low:.1%} in {share:.1%} of cohorts"
        )
    return (
        f"the exact law expects {expected:.1%}, {band.level:.0%} of it between "
        f"{band.low:.1%} and {band.high:.1%}"
    )


def band_words(band: Band | None) -> str:
    """A band; where scores tie its lower side."""
    if band is None:
        return "-"
    if band.high is None:
        return f">= {band.low:.1%} (ties)"
    return f"{band.low:.1%} to {band.high:.1%}"


def _compliance(result: CutResult | FoldCutResult, *, held_out: bool) -> str:
    """How many cases comply, beside the law where it applies."""
    text = f"{result.calibrated.n_compliant} of {result.n_counted} cases comply"
    if not held_out:
        return f"{text}."
    if isinstance(result, FoldCutResult):
        return (
            f"{text}; at least {result.promised:.1%} is promised, and the true share "
            f"lies in {band_words(result.observed_band)} (95 %, independent units)."
        )
    if result.expected_ecr is None:
        return (
            f"{text}; with weights, whole units or merged groups no exact law applies."
        )
    return f"{text}; {law_words(result.law, result.expected_ecr, result.ecr_band)}."


def _risks(result: CutResult | FoldCutResult, *, held_out: bool) -> str:
    """Mean losses beside their levels."""
    risks = [
        f"mean {risk.loss} loss {risk.mean:.4g}, level {risk.level}"
        for risk in result.risks or ()
        if risk.mean is not None
    ]
    if not risks:
        return "The loss is the user's own: its mean was not measured here."
    text = f"{'; '.join(risks)}."
    return text if held_out else f"{text} The level is not for cases already seen."


def _interval_covers(result: IntervalResult, *, held_out: bool) -> str:
    """How many intervals hold the volume, beside the law where it applies."""
    found = result.interval
    what = "changes" if result.change else "volumes"
    text = f"{found.n_covered} of {result.n_counted} {what} lie in their interval"
    if not held_out or found.expected is None or not found.band:
        return f"{text}."
    return f"{text}; {law_words(found.law, found.expected, found.band)}."


def _release_costs(result: ReleaseResult, *, held_out: bool) -> str:
    """What goes out and what it costs, beside the level."""
    found = result.release
    text = (
        f"{found.n_released} of {result.n_counted} masks go out; the mean loss over "
        f"all cases of what goes out is {found.realised:.4g}, level {found.level}."
    )
    return text if held_out else f"{text} The level is not for cases already seen."


def _left_to_see(result: SetsResult | FoldSetsResult, *, held_out: bool) -> str:
    """What lies between the sets, and whether the table's law applies."""
    ml = result.uncertain_ml
    left = "unknown (the size of a voxel is)" if ml is None else f"{ml:.3g} mL a case"
    text = f"Left to look at between the sets: {left}."
    return text if held_out else f"{text} The law is not that of cases already seen."
