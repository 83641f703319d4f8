"""A folder of files, some a case, that appears when all its cases are done."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coverax.files import OutputError, PathLike
from coverax.folders import (
    check_output_folder,
    gives_way,
    partial_folder,
    publish_folder,
)
from coverax.locks import LONGEST_NAME
from coverax.stream.folder_parts import FolderOf, record_part, take_parts
from coverax.stream.gather import check_failures, gather
from coverax.stream.inputs import file_facts
from coverax.stream.journal import Journal, journal_path
from coverax.stream.places import map_cases
from coverax.stream.shards import Shard, own_cases
from coverax.stream.where import HERE, Where
from coverax.volumes import declared_bytes, files_beside


def fill_folder(
    output: PathLike,
    sources: Mapping[str, PathLike],
    write_case: Callable[[str, Path, Path], Any],
    *,
    files: Mapping[str, Sequence[str]],
    kind: str,
    meaning: Any,
    case_meaning: Mapping[str, Any] | None = None,
    finish: Callable[[Path, dict[str, str]], None] = lambda _folder, _failures: None,
    threads: int | None = None,
    where: Where = HERE,
    shard: Shard | None = None,
    parts: PathLike | None = None,
    on_done: Callable[[str, Any], None] = lambda _case, _value: None,
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
        write_case: Takes case id, source and folder; each file appears whole. What it
            returns, JSON-able, is kept with the case. Pickled where work is elsewhere.
        files: Names that a case writes, below the folder.
        kind: What the files depend on besides their sources, for messages.
        meaning: That, JSON-able; a run of another meaning is not resumed.
        case_meaning: What the files of a single case depend on besides (its group).
        finish: Adds what belongs to the whole; takes the folder and the failures.
        threads: Cases at a time.
        where: Where cases are worked on.
        shard: Do its cases only, into `part-I-of-N` of the folder of parts `output`.
        parts: Folder of parts that shards of the same run have filled: take the files
            from there.
        on_done: Called with each finished case and what `write_case` returned for it,
            whenever that was, before `finish`.
        resume: Keep the finished cases of an interrupted run.
        verify_inputs: Tell a replaced source by its content too.
        allow_missing: Publish without the cases that failed, unless all did.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says which finished cases are done again, and
            how many a run that fails has kept.

    Returns:
        Why each failed case failed, by case id.

    Raises:
        BlockingIOError: Another run writes this output.
        ExceptionGroup: Cases failed; one exception each, naming the case.
        FileExistsError: `output` holds something already.
        OutputError: The folder cannot be written; what is finished is kept.
        ValueError: The interrupted run had another meaning.
    """
    sources = {name: Path(path) for name, path in sources.items()}
    whole = FolderOf(kind, meaning, sorted(sources))
    own = own_cases(sources, shard)
    output = Path(output) if shard is None else Path(output) / shard.name
    partial, was_run = partial_folder(output), journal_path(output).is_file()
    check_names(files)
    if not resume:
        _check_free(output, partial, was_run)
    journal = Journal(output, meaning, resume=resume, other=f"another {kind}")
    published = False
    try:
        is_new = output.is_dir() and not gives_way(output)
        if resume and was_run and is_new and not partial.exists():
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
            for case_id, path in ((case_id, sources[case_id]) for case_id in own)
        }
        done = _still_good(partial, journal, facts, files, on_note)
        _clear(partial, {name for case_id in done for name in files[case_id]})
        values = {case_id: journal.records[case_id].get("value") for case_id in done}
        lost: dict[str, str] = {}
        if parts is not None:
            _clear(partial, set())
            values, lost = take_parts(Path(parts), whole, files, partial)
            check_failures({} if allow_missing and values else lost, len(own))
        for _ in (*values, *lost):
            on_case()

        def note(case_id: str, value: Any) -> None:
            written = _written(partial, files[case_id])
            about = {"from": facts[case_id], "files": written, "value": value}
            journal.add(case_id, about)
            values[case_id] = value

        cases = [i for i in own if i not in values and i not in lost]
        found = lost | gather(
            map_cases(
                OneCase(write_case, sources, partial),
                cases,
                threads=threads,
                where=where,
                size_of=DeclaredSize(sources),
            ),
            own,
            note,
            allow_missing=allow_missing,
            even_all=shard is not None,
            on_case=on_case,
        )
        failures = {case_id: found[case_id] for case_id in own if case_id in found}
        for case_id in sorted(values):
            on_done(case_id, values[case_id])
        if shard is None:
            finish(partial, failures)
        else:
            record_part(partial, shard, whole, values, failures, files)
        _check_complete(partial, {i: files[i] for i in own}, failures)
        publish_folder(partial, output)
        published = True
    finally:
        if not journal.n_records and not published:
            shutil.rmtree(partial, ignore_errors=True)
        elif not published:
            journal.say_kept(on_note)
        left = not published or partial.exists()  # of a folder that gave way, too
        journal.close(keep=left, beside=partial)
    return failures


@dataclass(frozen=True, slots=True)
class OneCase:
    """Writes the files of one case; it travels to other processes."""

    write_case: Callable[[str, Path, Path], Any]
    sources: Mapping[str, Path]
    folder: Path

    def __call__(self, case_id: str) -> Any:
        """What `write_case` returns."""
        return self.write_case(case_id, self.sources[case_id], self.folder)


@dataclass(frozen=True, slots=True)
class DeclaredSize:
    """How large the volume of a case says it is."""

    sources: Mapping[str, Path]

    def __call__(self, case_id: str) -> int:
        """Bytes."""
        return declared_bytes(self.sources[case_id])


def check_names(files: Mapping[str, Sequence[str]]) -> None:
    """Refuse names that no file system takes, or that two cases or regions would share.

    Raises:
        ValueError: A case would write one.
    """
    owners: dict[str, str] = {}
    for case_id, names in files.items():
        for name in names:
            n_bytes = max(len(os.fsencode(part)) for part in Path(name).parts)
            if n_bytes > LONGEST_NAME:
                raise ValueError(
                    f"case {case_id}: its file {name} would have a name of {n_bytes} "
                    f"bytes, and file systems take {LONGEST_NAME}; shorten the name of "
                    "the case or of the region"
                )
            if name in owners:
                raise ValueError(
                    f"case {owners[name]} and case {case_id} would both write {name}; "
                    "rename a case or a region"
                )
            owners[name] = case_id


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
