"""`coverax plan`: how many cases a guarantee needs."""

from typing import Annotated

import typer

from coverax.cli.common import Alpha, AsJson, Delta, print_json, results
from coverax.shown import plural

NAME = "plan"
_SIZES = (20, 50, 100, 200, 500, 1000)
_QUANTILES = (0.05, 0.5, 0.95)


def command(
    alpha: Alpha,
    delta: Delta = None,
    n: Annotated[
        list[int] | None,
        typer.Option("-n", min=1, help="Numbers of units to show; repeat."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Folds of a cross-validation: units each fold needs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How many units are needed, and what coverage will spread over."""
    from coverax.calibrate import method_needs, n_needed
    from coverax.rational import as_fraction

    if folds is not None:
        if delta is not None or n:
            raise typer.BadParameter("--folds goes with --alpha alone")
        _plan_folds(folds, alpha, as_json=as_json)
        return
    sizes = sorted(set(n)) if n else list(_SIZES)
    result = {
        "alpha": float(as_fraction(alpha)),
        "delta": None if delta is None else float(as_fraction(delta)),
        "n_needed": n_needed(alpha),
        "n_needed_pac": None if delta is None else n_needed(alpha, delta),
        "rows": [_row(size, alpha, delta) for size in sizes],
        "methods": method_needs(alpha, delta),
    }
    if as_json:
        print_json(result)
    else:
        _show(result)


def _plan_folds(n_folds: int, alpha: str, *, as_json: bool) -> None:
    """Fewest units a fold, by method."""
    from coverax.calibrate import fold_needs
    from coverax.rational import as_fraction

    rows = [
        {"method": what, "n_each": n, "n_in_all": n * n_folds}
        for what, n in fold_needs(n_folds, alpha).items()
    ]
    if as_json:
        print_json({"alpha": float(as_fraction(alpha)), "folds": n_folds, "rows": rows})
        return
    from rich.table import Table

    title = f"alpha {alpha}, {n_folds} folds of equal size: fewest units"
    table = Table(title=title, title_justify="left")
    for name in ("method", "a fold", "in all"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for row in rows:
        table.add_row(row["method"], str(row["n_each"]), str(row["n_in_all"]))
    results().print(table)
    results().print(
        "With fewer, masks are the whole volume; with more, they become smaller."
    )


def _row(n: int, alpha: str, delta: str | None) -> dict:
    import numpy as np

    from coverax.calibrate import conformal_rank, coverage_quantiles, pac_rank

    def law(rank: int) -> dict:
        if rank > n:
            return {
                "rank": rank,
                "feasible": False,
                "coverage": None,
                "quantiles": None,
            }
        spread = coverage_quantiles(n, rank, np.array(_QUANTILES))
        return {
            "rank": rank,
            "feasible": True,
            "coverage": rank / (n + 1),
            "quantiles": dict(zip(map(str, _QUANTILES), spread.tolist(), strict=True)),
        }

    row = {"n": n, "marginal": law(conformal_rank(n, alpha))}
    if delta is not None:
        row["pac"] = law(pac_rank(n, alpha, delta))
    return row


def _show(result: dict) -> None:
    from rich.table import Table

    console = results()
    alpha, delta = result["alpha"], result["delta"]
    console.print(
        f"alpha {alpha}: at least {plural(result['n_needed'], 'unit')} for any threshold"
    )
    kinds = {"marginal": f"coverage {1 - alpha:g} on average"}
    if delta is not None:
        fewest = plural(result["n_needed_pac"], "unit")
        console.print(f"alpha {alpha}, delta {delta}: at least {fewest}")
        kinds["pac"] = f"coverage {1 - alpha:g} with confidence {1 - delta:g}"
    for kind, title in kinds.items():
        table = Table(title=title, title_justify="left")
        for name in ("units", "rank", "mean", "5 %", "median", "95 %"):
            table.add_column(name, justify="right")
        for row in result["rows"]:
            law = row[kind]
            cells = (
                [f"{v:.3f}" for v in (law["coverage"], *law["quantiles"].values())]
                if law["feasible"]
                else ["too few", "", "", ""]
            )
            table.add_row(str(row["n"]), str(law["rank"]), *cells)
        console.print(table)
    console.print(
        "Columns: coverage of new cases over calibration sets (i.i.d. units)."
    )
    _show_methods(result["methods"])


def _show_methods(needs: dict[str, int | None]) -> None:
    """Fewest units by method, and what that number means."""
    from rich.table import Table

    table = Table(title="fewest units, by calibrate --method", title_justify="left")
    table.add_column("method")
    table.add_column("units", justify="right")
    for method, n in needs.items():
        table.add_row(method, "more than 131,072" if n is None else str(n))
    results().print(table)
    results().print(
        "crc, rcps and ltt: if the loss is 0 in every unit; with losses they need more."
        + ("" if "rcps" in needs else " rcps and ltt need --delta.")
    )
