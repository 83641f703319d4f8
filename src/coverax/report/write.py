"""A report of whatever results lie in some folders."""

from collections.abc import Sequence
from pathlib import Path

from coverax.files import PathLike
from coverax.report.figures import check_figures


def write_report(
    folders: Sequence[PathLike], output: PathLike, *, command: Sequence[str] = ()
) -> list[tuple[Path, str]]:
    """Write one HTML page that says what was promised and what happened.

    The page holds all it needs and opens without a network. It speaks of every score
    table, calibration, evaluation, validation, reliability, temperature and monitor state
    that lies in the folders or below, each told by its form and compared with its digest.

    Args:
        folders: Folders, or files.
        output: The page, `report.html`.
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
    from coverax.report.page import write_page

    return [(path, why) for path, why in write_page(folders, output, command).unread]


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
