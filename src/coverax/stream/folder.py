"""A folder of files, some a case, that appears when all its cases are done."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coverax.files import finish_folder, folder_marker, start_folder
from coverax.stream.threads import map_cases


def fill_folder(
    output: Path,
    sources: Mapping[str, Path],
    write_case: Callable[[str, Path, Path], None],
    *,
    files: Mapping[str, Sequence[str]],
    kind: str,
    meaning: str,
    threads: int | None = None,
    resume: bool = False,
    allow_missing: bool = False,
    on_case: Callable[[], None] = lambda: None,
    before_publishing: Callable[[Path], None] = lambda _folder: None,
) -> dict[str, str]:
    """Write the files of every case, and give the folder its name when all are there.

    They are collected in `OUTPUT.partial`, so a reader never meets half a cohort; after
    a failure or an interrupt what is finished waits there for `resume`.

    Args:
        output: A new folder, or an empty one.
        sources: Case id to the file it is made from.
        write_case: Takes case id, source and folder; each file appears whole.
        files: Names that a case writes; the last one is written last and marks it done.
        kind: What the files depend on besides their sources, for messages.
        meaning: Digest of that; a run of another meaning is not resumed.
        threads: Cases at a time.
        resume: Keep the finished cases of an interrupted run whose source is older.
        allow_missing: Publish without the cases that failed, unless all did.
        on_case: Called once a case, for progress.
        before_publishing: Called with the folder when all files are there; what it
            raises leaves them for `resume`.

    Returns:
        Why each failed case failed, by case id.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Cases failed; one exception each, naming the case.
        ValueError: The interrupted run had another meaning.
    """
    partial = start_folder(output, meaning, kind=kind, resume=resume)
    wanted = {folder_marker(kind), *(name for own in files.values() for name in own)}
    for path in partial.iterdir():  # of cases that are no longer asked for
        if path.name not in wanted:
            path.unlink()

    def write_one(case_id: str) -> None:
        if not _is_newer(partial / files[case_id][-1], sources[case_id]):
            write_case(case_id, sources[case_id], partial)

    failures: dict[str, str] = {}
    for case_id, _, error in map_cases(write_one, sorted(sources), threads=threads):
        on_case()
        if error is not None:
            failures[case_id] = str(error)
    if failures and not (allow_missing and len(failures) < len(sources)):
        if len(failures) == len(sources):
            shutil.rmtree(partial)
        raise ExceptionGroup(
            f"{len(failures)} of {len(sources)} cases failed",
            [ValueError(f"case {case_id}: {why}") for case_id, why in failures.items()],
        )
    before_publishing(partial)
    finish_folder(output, kind)
    return failures


def _is_newer(path: Path, source: Path) -> bool:
    """Whether a file is younger than its source: one replaced since is read again."""
    if not (path.exists() and source.exists()):
        return False
    stat = source.stat()
    changed = max(stat.st_mtime_ns, stat.st_ctime_ns)  # a copy may keep its mtime
    return path.stat().st_mtime_ns >= changed
