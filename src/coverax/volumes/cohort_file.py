"""Cases to a `cohort.csv`."""

from pathlib import Path

from coverax.files import PathLike, publish_rows
from coverax.volumes.bids import FoundPairs
from coverax.volumes.nnunet_results import FoundResults


def write_results(found: FoundResults | FoundPairs, output: PathLike) -> None:
    """Write the cohort as CSV, paths relative to it where they lie below it.

    Units are written where they are others than the cases, raters where there are some.
    """
    output = Path(output)
    has_units = any(case.unit != case.case_id for case in found.cases)
    has_raters = any(case.rater for case in found.cases)
    rows = [
        {
            "case_id": case.case_id,
            "probs": _relative(Path(case.probs), output.parent),
            "labels": _relative(Path(case.labels or ""), output.parent),
            **({"unit": case.unit} if has_units else {}),
            **({"rater": case.rater} if has_raters else {}),
            **dict(case.columns),
        }
        for case in found.cases
    ]
    publish_rows(output, rows)


def _relative(path: Path, folder: Path) -> str:
    here, there = folder.resolve(), path.resolve()
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)
