"""`coverax import`: results of other tools as a cohort."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coverax.cli.common import AsJson, OnlyEntities, UnitPattern, note, print_json
from coverax.cli.pages import Command, Group
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.volumes import FoundPairs, FoundResults

NAME = "import"
app = typer.Typer(
    help="A cohort.csv from what another tool wrote.",
    cls=Group,
    rich_markup_mode=None,
)
_FEW = 3
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="cohort.csv to write.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what is there; write nothing.")
]


@app.callback()
def _group() -> None:
    """A cohort.csv from what another tool wrote."""


@app.command("nnunet", cls=Command)
def nnunet(
    results: Annotated[
        Path,
        typer.Argument(
            help="Folder of CASE.npz (--save_probabilities); with --folds the trained "
            "model, which holds fold_0, fold_1, ..."
        ),
    ],
    labels: Annotated[Path, typer.Option("--labels", help="Folder of references.")],
    output: Output = None,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds",
            help="Take fold_*/validation, each case under the model that did not see it.",
        ),
    ] = False,
    dry_run: DryRun = False,
    unit_pattern: UnitPattern = None,
    as_json: AsJson = False,
) -> None:
    """Match the softmax files of nnU-Net with references."""
    from coverax.volumes import find_results

    _check_output(output, dry_run)
    found = find_results(results, labels, folds=folds, unit_pattern=unit_pattern)
    _write(found, _model_lines(found), output, as_json)


@app.command("bids", cls=Command)
def bids(
    derivatives: Annotated[
        Path, typer.Argument(help="Root of a BIDS derivative with ..._probseg files.")
    ],
    labels: Annotated[
        Path,
        typer.Option("--labels", help="Root with ..._dseg or ..._mask references."),
    ],
    output: Output = None,
    only: OnlyEntities = None,
    labels_only: Annotated[
        list[str] | None,
        typer.Option(
            "--labels-only",
            metavar="KEY=VALUE",
            help="Entity that references must have, or suffix=dseg, suffix=mask; repeat.",
        ),
    ] = None,
    dry_run: DryRun = False,
    unit_pattern: UnitPattern = None,
    as_json: AsJson = False,
) -> None:
    """Match the probabilities of a BIDS derivative with references."""
    from coverax.cli.common import parse_only
    from coverax.volumes import find_bids

    _check_output(output, dry_run)
    found = find_bids(
        derivatives,
        labels,
        only=parse_only(only),
        labels_only=parse_only(labels_only),
        unit_pattern=unit_pattern,
    )
    lines = [f"to be scored with --region {region}" for region in found.regions]
    _write(found, lines, output, as_json)


@app.command("images", cls=Command)
def images(
    maps: Annotated[Path, typer.Argument(help="Folder of maps, in any form.")],
    labels: Annotated[
        Path,
        typer.Option(
            "--labels", help="Folder of references, matched by stem, or of one a rater."
        ),
    ],
    output: Output = None,
    dry_run: DryRun = False,
    unit_pattern: UnitPattern = None,
    as_json: AsJson = False,
) -> None:
    """Match two folders by stem, as --probs and --labels do."""
    from coverax.volumes import FoundPairs, match_folders

    _check_output(output, dry_run)
    cohort = match_folders(maps, labels, allow_missing=True, unit_pattern=unit_pattern)
    left_out = {why.replace("_", " "): list(v) for why, v in cohort.excluded.items()}
    _write(FoundPairs(cohort.cases, (), left_out), [], output, as_json)


def _check_output(output: Path | None, dry_run: bool) -> None:
    from coverax.files import check_output_file

    if (output is None) != dry_run:
        raise typer.BadParameter("give either -o cohort.csv or --dry-run")
    if output is not None:
        check_output_file(output)


def _write(
    found: "FoundResults | FoundPairs",
    lines: list[str],
    output: Path | None,
    as_json: bool,
) -> None:
    """Write the cohort, and say what was found and left out."""
    from coverax.volumes import some_names, write_results

    if output is not None:
        write_results(found, output)
    if as_json:
        about: dict[str, Any] = {"cohort": output and str(output)}
        print_json(found.to_json() | about)
        return
    n_cases = plural(len(found.cases), "case")
    n_units = plural(len({case.unit for case in found.cases}), "unit")
    note(f"found {n_cases} of {n_units} with a reference")
    for line in lines:
        note(line)
    for why, ids in found.left_out.items():
        note(f"left out ({why}): {len(ids)}: {some_names(ids, _FEW)}")
    for line in found.notes:
        note(line)
    if output is not None:
        note(f"{output}: {n_cases}")


def _model_lines(found: "FoundResults") -> list[str]:
    """What is known of the model and its folds, for people."""
    lines = []
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
    return lines
