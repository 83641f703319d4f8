"""Every kind of file of ours against the digest that it carries."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from coverax.files import PathLike, digest_file, is_sealed, read_json, sound
from coverax.locks import WHOLE
from coverax.stream import journal_lines
from coverax.table.parquet import read_meta
from coverax.table.part import is_part, read_part
from coverax.table.read import read_table

CHECKPOINTS = "checkpoints"
TABLE = "score table"
# Keys that tell what a sealed JSON file is; of two that fit, the first.
_KINDS = (
    ("calibration", {"thresholds", "score_definition"}),
    ("BIDS derivative", {"GeneratedBy", "calibration_digest"}),
    ("sidecar of masks", {"masks", "calibration_digest"}),
    ("monitor state", {"maps", "references", "looks"}),
    ("list of cases", {"list", "calibration_digest"}),
    ("temperature", {"fits", "voxels_per_case"}),
    ("transforms", {"what", "inner", "outer", "unit_digests"}),
    ("evaluation", {"results", "held_out"}),
    ("validation", {"results", "evidence"}),
    ("reliability", {"regions", "mean_over_regions"}),
    ("record of inference", {"model", "options", "classes"}),
    ("record of scaled maps", {"temperature", "temperatures", "parts"}),
    ("record of a part", {"shard", "values", "cases_digest"}),
    ("record of packed maps", {"bits", "maps", "parts"}),
    ("record of exported maps", {"channels", "parts"}),
    ("summary of a site", {"one", "n_cuts"}),
    ("split", {"parts", "units", "seed"}),
    ("config of a run", {"config", "coverax"}),
    ("cache entry", {"case_id", "files"}),
)
# What a file belongs to, of what it says itself.
_ABOUT = (
    *("coverax", "method", "alpha", "case_id", "n_cases", "cases_digest"),
    *("calibration_digest", "model", "score_definition", "digest"),
)
Status = Literal["whole", "damaged", "unknown"]


class Verdict(NamedTuple):
    """What is to be said of a file.

    Attributes:
        path: The file; of a checkpoint its folder.
        status: `whole`, `damaged`, or `unknown`: no file of ours, or one without a seal.
        what: Which kind of file it is, or what is wrong with it.
        about: What it belongs to: version, cases, calibration, definition.
    """

    path: Path
    status: Status
    what: str
    about: dict[str, Any]


def verify_files(
    paths: Iterable[PathLike], *, on_file: Callable[[], None] = lambda: None
) -> list[Verdict]:
    """Compare every file with its own digest, or with that in the file that names it.

    A whole file is the one that was written; a digest is no signature, and whoever writes
    another one can make a file say anything. Masks, tables of rows and maps are compared
    with the SHA-256 in the JSON file beside them.

    Args:
        paths: Files and folders; of a folder every file below it.
        on_file: Called once a file.

    Returns:
        A verdict a file, those of a folder by name; a checkpoint counts as one.

    Raises:
        FileNotFoundError: A path does not exist.
    """
    named: dict[Path, dict[str, tuple[Path, str]]] = {}
    verdicts = []
    for path in _all_files(map(Path, paths)):
        verdicts.append(_verdict(path, named))
        on_file()
    return verdicts


def kind_of(path: PathLike) -> str | None:
    """Which kind of file of ours a file is by its form, whole or not.

    Returns:
        A name as `Verdict.what` has it; None for all that is not ours, and for what
        stands beside a file of ours that names it.

    Raises:
        ValueError: It is JSON or Parquet by its name, but cannot be read as that.
    """
    path = Path(path)
    if path.name.startswith("."):
        return None
    if path.suffix == ".json":
        with sound(path, "JSON file"):
            return _kind_of_json(read_json(path))
    if path.suffix == ".parquet" and path.name not in dict(_names_in(path.parent)):
        return "part of a score table" if "part" in read_meta(path) else TABLE
    return None


def _kind_of_json(content: Any) -> str | None:
    keys = content.keys() if isinstance(content, dict) else set()
    return next((kind for kind, own in _KINDS if own <= keys), None)


def _all_files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        if _is_checkpoint(path) or _is_unfinished(path) or not path.is_dir():
            yield path
        else:
            yield from _all_files(sorted(path.iterdir()))


def _is_checkpoint(path: Path) -> bool:
    return path.is_dir() and path.name.isdigit() and path.parent.name == CHECKPOINTS


def _is_unfinished(path: Path) -> bool:
    """Whether a run writes it, or was killed while it did: it bears no name yet."""
    if path.parent.name == CHECKPOINTS:
        return path.suffix == ".orbax-checkpoint-tmp" or path.name == "deleted"
    return path.name.startswith(".") and path.suffix in (".tmp", ".lock", WHOLE)


def _verdict(path: Path, named: dict[Path, dict[str, tuple[Path, str]]]) -> Verdict:
    try:
        if _is_unfinished(path):
            return Verdict(path, "unknown", "of a run that writes, or was killed", {})
        if _is_checkpoint(path):
            return _checkpoint(path)
        if not path.is_file():
            return Verdict(path, "unknown", "no regular file", {})
        found = _named_by_another(path, named) or _own(path)
        nobodys = "no file of coverax, or one without a seal"
        return found or Verdict(path, "unknown", nobodys, {})
    except (ValueError, OSError, MemoryError) as error:
        text = " ".join(str(error).split()).removeprefix(f"{path}: ")
        return Verdict(path, "damaged", text or type(error).__name__, {})


def _own(path: Path) -> Verdict | None:
    """A file that carries its own digests; None where it is none."""
    if path.name.endswith(".partial.jsonl"):
        n_sound, n_damaged = journal_lines(path)
        if n_damaged:
            text = f"journal: {n_damaged} of {n_sound + n_damaged} lines are damaged"
            return Verdict(path, "damaged", f"{text}; --resume does them again", {})
        return Verdict(path, "whole", f"journal of {n_sound} finished records", {})
    with path.open("rb") as file:
        start = file.read(64)
    if path.suffix == ".json" or start.lstrip().startswith(b"{"):
        return _json(path)
    if path.suffix == ".parquet" or start.startswith(b"PAR1"):
        if is_part(path):
            part = read_part(path)
            text = f"part {part.shard[0]} of {part.shard[1]} of a score table"
            about: dict[str, Any] = {"n_cases": len(part.cases), "n_rows": part.n_rows}
            about["score_definition"] = part.definition.to_json()
            return Verdict(path, "whole", text, about)
        table = read_table(path)
        about = {
            "n_rows": table.n_rows,
            "cases_digest": table.cases_digest,
            "score_definition": table.definition.to_json(),
        }
        return Verdict(path, "whole", TABLE, about)
    return None


def _json(path: Path) -> Verdict | None:
    with sound(path, "JSON file"):
        content = read_json(path)
        kind = _kind_of_json(content)
        if kind is None:
            return None
        if "digest" not in content:
            return Verdict(path, "damaged", f"{kind}: carries no digest", {})
        if not is_sealed(content):
            return Verdict(path, "damaged", f"{kind}: its digest does not match", {})
    about = {key: content[key] for key in _ABOUT if key in content}
    for name, digest in content.get("files", {}).items():
        beside = path.parent / name
        if not beside.is_file():
            return Verdict(path, "damaged", f"{kind}: {name} is missing", about)
        if digest_file(beside) != digest:
            text = f"{kind}: {name} is not the file that was written"
            return Verdict(path, "damaged", text, about)
    return Verdict(path, "whole", kind, about)


def _named_by_another(
    path: Path, named: dict[Path, dict[str, tuple[Path, str]]]
) -> Verdict | None:
    """A file whose digest stands in a JSON file beside it; None where it does not."""
    if path.parent not in named:
        named[path.parent] = dict(_names_in(path.parent))
    if path.name not in named[path.parent]:
        return None
    owner, digest = named[path.parent][path.name]
    about = {"belongs_to": owner.name}
    if digest_file(path) != digest:
        text = f"not the file that {owner.name} was written for"
        return Verdict(path, "damaged", text, about)
    return Verdict(path, "whole", f"of {owner.name}", about)


def _names_in(folder: Path) -> Iterator[tuple[str, tuple[Path, str]]]:
    for path in sorted(folder.glob("*.json")):
        try:
            content = read_json(path)
        except (ValueError, OSError, RecursionError):
            continue
        files = content.get("files") if isinstance(content, dict) else None
        if isinstance(files, dict):
            yield from ((name, (path, digest)) for name, digest in files.items())


def _checkpoint(path: Path) -> Verdict:
    from coverax.train.checkpoint import load_checkpoint

    found = load_checkpoint(path)
    about = {"step": found.step, "split": found.split_digest}
    about["classes"] = found.config.data.classes
    return Verdict(path, "whole", f"checkpoint of step {found.step}", about)
