"""Result tables on the terminal."""

from typing import Any

from coverax.cli.terminal import can_show, results

_BLOCKS = "·▁▂▃▄▅▆▇█"
_DIGITS = ".12345678"  # the same heights where a terminal has no blocks


def show_evaluation(summary: dict[str, Any]) -> None:
    """Print one table a region: the calibrated cut beside the fixed one."""
    console = results()
    if not summary["held_out"]:
        console.print(
            f"[bold red]Not held out:[/] {summary['n_units_seen_in_calibration']} of "
            f"{summary['n_units']} units also calibrated or were learned from; the band "
            "does not apply."
        )
    table, sentence = _SHOW[summary["method"]]
    for result in summary["results"]:
        console.print(table(summary, result))
        console.print(sentence(result, held_out=summary["held_out"]))
        if result["n_empty_reference"]:
            console.print(f"{result['n_empty_reference']} empty references.")
    for why, ids in summary["excluded"].items():
        console.print(f"left out ({why}): {', '.join(ids)}", markup=False)
    console.print(summary["statement"], style="dim", markup=False)


def _compliance(result: dict[str, Any], *, held_out: bool) -> str:
    """How many cases comply, beside the law where it applies."""
    text = (
        f"{result['calibrated']['n_compliant']} of {result['n_counted']} cases comply"
    )
    if not held_out:
        return f"{text}."
    if not result["ecr_band"]:
        return f"{text}; with weights or merged groups no exact law applies."
    band = result["ecr_band"][0]
    return (
        f"{text}; the exact law expects {result['expected_ecr']:.1%}, "
        f"{band['level']:.0%} of it between {band['low']:.1%} and {band['high']:.1%}."
    )


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
    laws = [c["band"] and c["band"][0] for c in columns]
    table.add_row(
        "exact law, 95 %",
        *[f"{b['low']:.1%} to {b['high']:.1%}" if b else "-" for b in laws],
    )
    for label, key in (("size ratio", "size_ratio"), ("volume, mean mL", "ml")):
        values = [result[side][f"{side}_{key}"] for side in ("inner", "outer")]
        cells = ["-" if v is None else f"{v:.3g}" for v in values]
        table.add_row(label, *cells, "-")
    return table


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
        table.add_column(f"{name}\np >= {text}", justify="right")
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


def _bars(counts: list[int]) -> str:
    top = max(counts) or 1
    signs = _BLOCKS if can_show(_BLOCKS) else _DIGITS
    return "".join(signs[-(-c * (len(signs) - 1) // top)] for c in counts)


# Method of a calibration -> its table, and the sentence below it.
_SHOW = {
    "fnr": (_table, _compliance),
    "crc": (_table, _risks),
    "rcps": (_table, _risks),
    "ltt": (_table, _risks),
    "sets": (_sets_table, _left_to_see),
}
