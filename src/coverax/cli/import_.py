"""`coverax import`: results of other tools as a cohort."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coverax.cli.common import AsJson, UnitPattern, note, print_json

if TYPE_CHECKING:
    from coverax.volumes import FoundResults

NAME = "import"
app = typer.Typer(
    help="A cohort.csv from what another tool wrote.", no_args_is_help=True
)
_FEW = 3


@app.callback()
def _group() -> None:
    """A cohort.csv from what another tool wrote."""


@app.command("nnunet")
def nnunet(
    results: Annotated[
        Path,
        typer.Argument(
            help="Folder of CASE.npz (--save_probabilities); with --folds the trained "
            "model, which holds fold_0, fold_1, ..."
        ),
    ],
    labels: Annotated[Path, typer.Option("--labels", help="Folder of references.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="cohort.csv to write.")
    ] = None,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds",
            help="Take fold_*/validation, each case under the model that did not see it.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is there; write nothing.")
    ] = False,
    unit_pattern: UnitPattern = None,
    as_json: AsJson = False,
) -> None:
    """Match the softmax files of nnU-Net with references."""
    from coverax.files import check_output_file
    from coverax.volumes import find_results, write_results

    if (output is None) != dry_run:
        raise typer.BadParameter("give either -o cohort.csv or --dry-run")
    if output is not None:
        check_output_file(output)
    found = find_results(results, labels, folds=folds, unit_pattern=unit_pattern)
    if output is not None:
        write_results(found, output)
    if as_json:
        print_json(found.to_json() | {"cohort": output and str(output)})
        return
    for line in _lines(found):
        note(line)
    if output is not None:
        note(f"{output}: {len(found.cases)} cases")


def _lines(found: "FoundResults") -> list[str]:
    """What was found, for people."""
    from coverax.volumes import some_names

    n_units = len({case.unit for case in found.cases})
    lines = [f"found {len(found.cases)} cases of {n_units} units with a reference"]
    if found.fold_sizes:
        each = ", ".join(f"{fold}: {n}" for fold, n in found.fold_sizes.items())
        lines.append(f"cases of each fold: {each}")
    if found.dataset is not None:
        kind = "regions" if found.dataset.is_regions else "labels"
        ignored = found.dataset.ignore_label
        regions = ", ".join(map(str, found.dataset.regions))
        end = "" if ignored is None else f"; label {ignored} is ignored"
        lines.append(f"a model of {kind}: {regions}{end}")
    if found.reader is not None:
        lines.append(f"read and written by {found.reader}")
    for why, ids in found.left_out.items():
        lines.append(f"left out ({why}): {len(ids)}: {some_names(ids, _FEW)}")
    return lines + found.notes
