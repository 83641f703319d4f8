"""A report of whatever results lie in some folders."""

from collections.abc import Sequence
from pathlib import Path

from coverax.files import PathLike
from coverax.report.figures import check_figures
from coverax.volumes import Cohort


def write_report(
    folders: Sequence[PathLike],
    output: PathLike,
    *,
    cohort: Cohort | None = None,
    images: PathLike | None = None,
    command: Sequence[str] = (),
) -> list[tuple[Path, str]]:
    """Write one HTML page that says what was promised and what happened.

    The page holds all it needs and opens without a network. It speaks of every score
    table, calibration, evaluation, validation, reliability, temperature and monitor state
    that lies in the folders or below, each told by its form and compared with its digest.

    Args:
        folders: Folders, or files.
        output: The page, `report.html`.
        cohort: Maps and references of the cases that were evaluated: the worst, the
            median and the best of them are drawn.
        images: Folder of scans to draw on, `CASE.nii.gz` or `CASE_0000.nii.gz`; those
            that the cohort names come first.
        command: The command line, to be recorded in it.

    Returns:
        Files that look like results but were not read, and why; the page lists them too.

    Raises:
        FileExistsError: The output is one of the files that are read.
        FileNotFoundError: A folder is not there.
        ValueError: The extra `report` is not installed, a file is not as it was written,
            or there is nothing to report on.
    """
    check_report()
    from coverax.report.cases import Pictures
    from coverax.report.page import write_page

    if images is not None and cohort is None:
        raise ValueError("scans are drawn on with maps and references: give a cohort")
    own = None if cohort is None else Pictures.of(cohort, images)
    found = write_page(folders, output, own, command)
    return [(path, why) for path, why in found.unread]


def check_report() -> None:
    """Refuse before any work what could not be written.

    Raises:
        ValueError: jinja2 or matplotlib is not installed.
    """
    check_figures()
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise ValueError("reports need jinja2: pip install 'coverax[report]'") from None
