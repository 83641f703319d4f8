"""Result tables on the terminal."""

from typing import Any

from coverax.cli.terminal import can_show, results
from coverax.provenance import part_words

_BLOCKS = "·▁▂▃▄▅▆▇█"
_DIGITS = ".12345678"  # the same heights where a terminal has no blocks


def show_evaluation(summary: dict[str, Any]) -> None:
    """Print one table a region: the calibrated cut beside the fixed one."""
    console = results()
    if not summary["held_out"]:
        why = f"{summary['n_units_seen_in_calibration']} of {summary['n_units']} units "
        why += "also calibrated or were learned from (by unit, case id or map)"
        if spent := part_words(summary["n_cases_of_spent_parts"]):
            why += f"; {spent}"
        console.print(f"[bold red]Not held out:[/] {why}; the band does not apply.")
    for result in summary["results"]:
        table, sentence = _shown(result)
        console.print(table(summary, result))
        console.print(sentence(result, held_out=summary["held_out"]))
        for line in _audit(result):
            console.print(line, markup=False)
        if result["n_empty_reference"]:
            console.print(f"{result['n_empty_reference']} empty references.")
    if "all_regions" in summary:
        console.print(_all_regions(summary))
    for where, why in summary["not_evaluated"].items():
        console.print(f"region {where}: {why}", markup=False)
    for why, ids in summary["excluded"].items():
        console.print(f"left out ({why}): {', '.join(ids)}", markup=False)
    console.print(summary["statement"], style="dim", markup=False)


def _shown(result: dict[str, Any]):
    """The table of a region, and the sentence below it."""
    if "interval" in result:
        return _interval_table, _interval_covers
    if "release" in result:
        return _release_table, _release_costs
    if "calibrated" not in result:
        return _sets_table, _left_to_see
    return _table, _risks if "risks" in result else _compliance


def _audit(result: dict[str, Any]) -> list[str]:
    """Where failures gather: one line each thing that cases are sorted by."""
    found = result.get("audit", {"parts": []})
    by: dict[str, list[str]] = {}
    for part in found["parts"]:
        band = f"{part['low']:.0%} to {part['high']:.0%}"
        text = f"{part['part']} {part['share']:.0%} ({band}, n {part['n']})"
        by.setdefault(part["by"], []).append(text)
    return [
        f"By {name}, {found['meaning']}: {', '.join(texts)}."
        for name, texts in by.items()
    ]


def _compliance(result: dict[str, Any], *, held_out: bool) -> str:
    """How many cases comply, beside the law where it applies."""
    text = (
        f"{result['calibrated']['n_compliant']} of {result['n_counted']} cases comply"
    )
    if not held_out:
        return f"{text}."
    if "folds" in result:
        return (
            f"{text}; at least {result['promised']:.1%} is promised, and the true share "
            f"lies in {_band(result['observed_band'])} (95 %, independent units)."
        )
    if not result["ecr_band"]:
        return (
            f"{text}; with weights, whole units or merged groups no exact law applies."
        )
    return f"{text}; {_law(result['law'], result['expected_ecr'], result['ecr_band'])}."


def _law(law: str, expected: float, bands: list[dict[str, Any]]) -> str:
    """The law in words: with ties its lower side alone."""
    band = bands[0]
    if law == "at_least":
        share = 1 - (1 - band["level"]) / 2
        return (
            f"scores tie, so the law says at least {expected:.1%}, and at or above "
            f"{band['low']:.1%} in {share:.1%} of cohorts"
        )
    return (
        f"the exact law expects {expected:.1%}, {band['level']:.0%} of it between "
        f"{band['low']:.1%} and {band['high']:.1%}"
    )


def _all_regions(summary: dict[str, Any]) -> str:
    """Cases of which every region is covered, where that is the promise."""
    found = summary["all_regions"]
    if found is None:
        return "All regions at once: no case counts in every region."
    text = (
        f"All regions at once: {found['n_covered']} of {found['n_counted']} cases are "
        f"covered ({found['coverage']:.1%})"
    )
    if not summary["held_out"]:
        return f"{text}."
    if found["law"] is None:
        return f"{text}; at least {1 - summary['alpha']:.1%} is promised."
    return f"{text}; {_law(found['law'], found['expected'], found['band'])}."


def _risks(result: dict[str, Any], *, held_out: bool) -> str:
    """Mean losses beside their levels."""
    risks = [
        f"mean {risk['loss']} loss {risk['mean']:.4g}, level {risk['level']}"
        for risk in result["risks"]
        if risk["mean"] is not None
    ]
    if not risks:
        return "The loss is the user's own: its mean was not measured here."
    text = f"{'; '.join(risks)}."
    return text if held_out else f"{text} The level is not for cases already seen."


def _interval_covers(result: dict[str, Any], *, held_out: bool) -> str:
    """How many intervals hold the volume, beside the law where it applies."""
    found = result["interval"]
    text = (
        f"{found['n_covered']} of {result['n_counted']} volumes lie in their interval"
    )
    if not held_out or not found["band"]:
        return f"{text}."
    return f"{text}; {_law(found['law'], found['expected'], found['band'])}."


def _release_costs(result: dict[str, Any], *, held_out: bool) -> str:
    """What goes out and what it costs, beside the level."""
    found = result["release"]
    text = (
        f"{found['n_released']} of {result['n_counted']} masks go out; the mean loss over "
        f"all cases of what goes out is {found['realised']:.4g}, level {found['level']}."
    )
    return text if held_out else f"{text} The level is not for cases already seen."


def _release_table(summary: dict[str, Any], result: dict[str, Any]):
    from rich.table import Table

    where = " ".join(filter(None, [result["region"], result.get("group")]))
    table = Table(title=f"{where}, alpha {summary['alpha']}", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    rows = [
        ("released", "release", "share_released", "{:.1%}"),
        ("loss of what goes out, over all cases", "release", "realised", "{:.4f}"),
        ("loss among the released", "release", "loss_of_released", "{:.4f}"),
        ("loss if all went out", "release", "loss_of_all", "{:.4f}"),
        ("cases at or above their floor of Dice", "floor", "coverage", "{:.1%}"),
        ("floor of Dice, median", "floor", "floor_median", "{:.3f}"),
        ("Dice, median", "floor", "dice_median", "{:.3f}"),
    ]
    for label, part, key, form in rows:
        value = result.get(part, {}).get(key)
        if part in result:
            table.add_row(label, "-" if value is None else form.format(value))
    return table


def _interval_table(summary: dict[str, Any], result: dict[str, Any]):
    from rich.table import Table

    where = " ".join(filter(None, [result["region"], result.get("group")]))
    table = Table(title=f"{where}, alpha {summary['alpha']}", title_justify="left")
    table.add_column("")
    table.add_column("volume", justify="right")
    rows = [
        ("intervals that hold the volume", "coverage", "{:.1%}"),
        ("reference, mean mL", "true_ml", "{:.3g}"),
        ("estimate, mean mL", "volume_ml", "{:.3g}"),
        ("width, mean mL", "width_ml", "{:.3g}"),
        ("width, median mL", "width_ml_median", "{:.3g}"),
        ("width, median share of the estimate", "width_share_median", "{:.1%}"),
    ]
    for label, key, form in rows:
        value = result["interval"][key]
        table.add_row(label, "-" if value is None else form.format(value))
    return table


def _left_to_see(result: dict[str, Any], *, held_out: bool) -> str:
    """What lies between the sets, and whether the table's law applies."""
    ml = result["uncertain_ml"]
    text = f"Left to look at between the sets: {ml:.3g} mL a case."
    return text if held_out else f"{text} The law is not that of cases already seen."


def _sets_table(summary: dict[str, Any], result: dict[str, Any]):
    from rich.table import Table

    table = Table(
        title=f"{result['region']}, alpha {summary['alpha']}, rule {result['rule']}",
        title_justify="left",
    )
    table.add_column("")
    for side in ("inner", "outer"):
        table.add_column(f"{side}\n{result[side]['transform']}", justify="right")
    table.add_column("both", justify="right")
    columns = [result[name] for name in ("inner", "outer", "joint")]
    table.add_row("covered cases", *[f"{c['coverage']:.1%}" for c in columns])
    if "folds" in result:
        shares = [c["promised"] for c in columns]
        cells = ["-" if share is None else f">= {share:.1%}" for share in shares]
        table.add_row("promised", *cells)
        table.add_row(
            "true share, 95 %", *[_band(c.get("observed_band")) for c in columns]
        )
    else:
        laws = [c["band"] and c["band"][0] for c in columns]
        table.add_row("exact law, 95 %", *[_band(band) for band in laws])
    root = {2: "square root", 3: "cube root"}.get(result["n_axes"], "root by axes")
    labels = (
        (f"size ratio ({root})", "size_ratio"),
        ("volume ratio", "volume_ratio"),
        ("volume, mean mL", "ml"),
    )
    for label, key in labels:
        values = [result[side][f"{side}_{key}"] for side in ("inner", "outer")]
        cells = ["-" if v is None else f"{v:.3g}" for v in values]
        table.add_row(label, *cells, "-")
    return table


def _band(band: dict[str, Any] | None) -> str:
    """A band; where scores tie its lower side."""
    if band is None:
        return "-"
    if band["high"] is None:
        return f">= {band['low']:.1%} (ties)"
    return f"{band['low']:.1%} to {band['high']:.1%}"


def _table(summary: dict[str, Any], result: dict[str, Any]):
    from rich.table import Table

    tolerance = result["tolerance"]
    complies = tolerance is not None  # a mean loss has no compliance of one case
    where = " ".join(filter(None, [result["region"], result.get("group")]))
    table = Table(title=f"{where}, alpha {summary['alpha']}", title_justify="left")
    table.add_column("")
    for name in ("calibrated", "fixed"):
        cut = result[name]["probability_threshold"]
        text = "everything" if cut is None else f"{cut:.4g}"
        table.add_column(f"{name}\n{_cut_words(result, name, text)}", justify="right")
    rows = [
        *(
            [(f"cases with FNR <= {tolerance} (ECR)", "ecr", "{:.1%}")]
            if complies
            else []
        ),
        ("FNR, mean", "fnr_mean", "{:.3f}"),
        ("FNR, sd", "fnr_sd", "{:.3f}"),
        ("missed cases (P-FNR)", "p_fnr", "{:.1%}"),
        ("FPR, mean", "fpr", "{:.2%}"),
        ("predicted share of voxels (PC)", "pc", "{:.2%}"),
        ("Dice, mean", "dice", "{:.3f}"),
        ("volume, mean mL", "volume_ml", "{:.3g}"),
    ]
    if result["calibrated"]["lesion_detection"] is not None:
        rows.append(("lesions detected, mean share", "lesion_detection", "{:.1%}"))
    for label, key, form in rows:
        values = [result[name][key] for name in ("calibrated", "fixed")]
        table.add_row(label, *["-" if v is None else form.format(v) for v in values])
    bars = [
        _bars(result[name]["fnr_histogram"]["counts"])
        for name in ("calibrated", "fixed")
    ]
    table.add_row("FNR of cases, 0 to 1", *bars)
    return table


def _cut_words(result: dict[str, Any], name: str, cut: str) -> str:
    """What a mask is: a cut of the map, or of the maps of folds."""
    if "folds" not in result:
        return f"p >= {cut}"
    if name == "fixed":
        return f"mean p >= {cut}"
    return f"{result['votes_needed']} of {len(result['folds'])} folds"


def _bars(counts: list[int]) -> str:
    top = max(counts) or 1
    signs = _BLOCKS if can_show(_BLOCKS) else _DIGITS
    return "".join(signs[-(-c * (len(signs) - 1) // top)] for c in counts)
