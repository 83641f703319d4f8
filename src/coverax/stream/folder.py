"""A folder of files, some a case, that appears when all its cases are done."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coverax.files import OutputError, PathLike
from coverax.folders import check_output_folder, partial_folder, publish_folder
from coverax.stream.gather import gather
from coverax.stream.inputs import file_facts
from coverax.stream.journal import Journal, journal_path
from coverax.stream.threads import map_cases
from coverax.volumes import files_beside


def fill_folder(
    output: PathLike,
    sources: Mapping[str, PathLike],
    write_case: Callable[[str, Path, Path], None],
    *,
    files: Mapping[str, Sequence[str]],
    kind: str,
    meaning: Any,
    case_meaning: Mapping[str, Any] | None = None,
    finish: Callable[[Path, dict[str, str]], None] = lambda _folder, _failures: None,
    threads: int | None = None,
    resume: bool = False,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> dict[str, str]:
    """Write the files of every case, and give the folder its name when all are there.

    They are collected in `OUTPUT.partial`, so a reader never meets half a cohort; after
    a failure or an interrupt what is finished waits there for `resume`. A journal
    beside it says of each finished case what it was made from; a case whose source or
    meaning is another now, or whose files are not as they were written, is done again.

    Args:
        output: A new folder, or an empty one.
        sources: Case id to the file it is made from; what that is read with counts too.
        write_case: Takes case id, source and folder; each file appears whole.
        files: Names that a case writes, below the folder.
        kind: What the files depend on besides their sources, for messages.
        meaning: That, JSON-able; a run of another meaning is not resumed.
        case_meaning: What the files of a single case depend on besides (its group).
        finish: Adds what belongs to the whole; takes the folder and the failures.
        threads: Cases at a time.
        resume: Keep the finished cases of an interrupted run.
        verify_inputs: Tell a replaced source by its content too.
        allow_missing: Publish without the cases that failed, unless all did.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says which finished cases are done again.

    Returns:
        Why each failed case failed, by case id.

    Raises:
        BlockingIOError: Another run writes this output.
        ExceptionGroup: Cases failed; one exception each, naming the case.
        FileExistsError: `output` holds something already.
        OutputError: The folder cannot be written; what is finished is kept.
        ValueError: The interrupted run had another meaning.
    """
    output = Path(output)
    sources = {name: Path(path) for name, path in sources.items()}
    partial, was_run = partial_folder(output), journal_path(output).is_file()
    if not resume:
        _check_free(output, partial, was_run)
    journal = Journal(output, meaning, resume=resume, other=f"another {kind}")
    published = False
    try:
        if resume and was_run and output.is_dir() and not partial.exists():
            # Killed between the last rename and the end of the journal: all is there.
            output.replace(partial)
        _check_free(output, partial, was_run)
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(exist_ok=True)
        facts = {
            case_id: {
                "source": file_facts(
                    [path, *files_beside(path)], content=verify_inputs
                ),
                "meaning": (case_meaning or {}).get(case_id),
            }
            for case_id, path in sources.items()
        }
        done = _still_good(partial, journal, facts, files, on_note)
        _clear(partial, {name for case_id in done for name in files[case_id]})

        def write_one(case_id: str) -> None:
            if case_id not in done:
                write_case(case_id, sources[case_id], partial)

        def note(case_id: str, _: None) -> None:
            if case_id not in done:
                written = _written(partial, files[case_id])
                journal.add(case_id, {"from": facts[case_id], "files": written})

        cases = sorted(sources)
        failures = gather(
            map_cases(write_one, cases, threads=threads),
            cases,
            note,
            allow_missing=allow_missing,
            on_case=on_case,
        )
        finish(partial, failures)
        _check_complete(partial, files, failures)
        publish_folder(partial, output)
        published = True
    finally:
        if not journal.n_records and not published:
            shutil.rmtree(partial, ignore_errors=True)
        journal.close(keep=not published)
    return failures


def count_finished(output: PathLike) -> int:
    """Cases that an unfinished run into `output` has kept for `resume`."""
    output = Path(output)
    if not partial_folder(output).is_dir() or not journal_path(output).is_file():
        return 0
    with journal_path(output).open("rb") as lines:
        return max(0, sum(1 for _ in lines) - 1)


def _check_free(output: Path, partial: Path, was_run: bool) -> None:
    """Raise where the output, or the folder it is filled in, is not this run's."""
    check_output_folder(output)
    is_ours = was_run or not partial.exists()
    if not is_ours and not (partial.is_dir() and not any(partial.iterdir())):
        raise FileExistsError(f"{partial} exists and is not an interrupted run")


def _written(folder: Path, names: Sequence[str]) -> list[Any]:
    """Size and time of each file of a case; it is not done while one is missing."""
    facts = file_facts(folder / name for name in names)
    return [fact and [Path(fact[0]).name, *fact[1:3]] for fact in facts]


def _still_good(
    folder: Path,
    journal: Journal,
    facts: Mapping[str, Any],
    files: Mapping[str, Sequence[str]],
    on_note: Callable[[str], None],
) -> set[str]:
    """Finished cases made from what is there now, whose files are as they were written."""
    finished = journal.records.keys() & facts.keys()
    done = {
        case_id
        for case_id in finished
        if journal.records[case_id]["from"] == facts[case_id]
        and journal.records[case_id]["files"] == _written(folder, files[case_id])
    }
    again = sorted(finished - done)
    if again:
        on_note(
            f"{len(again)} finished cases were made from something else or altered, "
            f"and are done again: {', '.join(again[:3])}"
        )
    return done


def _clear(folder: Path, wanted: set[str]) -> None:
    """Delete what no finished case owns."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds first
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in wanted:
            path.unlink()


def _check_complete(
    folder: Path, files: Mapping[str, Sequence[str]], failures: Mapping[str, str]
) -> None:
    """Raise where a file that was written has gone before the folder is published."""
    lost = [
        name
        for case_id, names in files.items()
        if case_id not in failures
        for name in names
        if not (folder / name).is_file()
    ]
    if lost:
        raise OutputError(f"{folder}: {', '.join(lost[:3])} disappeared while it ran")
