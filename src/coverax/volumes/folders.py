"""Folders of volumes: what they hold, what is passed over, and what belongs together."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from coverax.checks import normal_form
from coverax.files import PathLike
from coverax.shown import plural
from coverax.volumes.case import (
    Case,
    Cohort,
    check_maps_differ,
    with_parts,
    with_units,
)
from coverax.volumes.formats import (
    NPZ,
    PICTURES,
    SUFFIXES,
    file_stem,
    file_suffix,
)
from coverax.volumes.names import check_case_id, check_name, other_spelling, some_names
from coverax.volumes.origin import known_parts, known_units

_log = logging.getLogger("coverax")
# Files that lie beside volumes and are none; any other is named where it is passed over.
_COMPANIONS = (
    *(".json", ".txt", ".tsv", ".csv", ".pkl", ".md", ".log", ".pdf", ".html"),
    *(".yaml", ".yml", ".toml", ".bval", ".bvec", ".sha256", ".md5"),
    *(".raw", ".zraw"),  # the voxels of a .mhd
)
_COMPANION_NAMES = ("thumbs.db", "desktop.ini", "readme", "license", "changes")
_FEW = 3  # files that are named one by one


def nifti_files(folder: PathLike) -> dict[str, Path]:
    """Case id (file stem, NFC) to path of the volumes in a folder, of every format.

    Files of another kind are passed over; a note names or counts those that may be
    volumes. Where a softmax of nnU-Net lies in the folder, it is the map of its case
    and the volume of that name beside it the segmentation. Pictures (`.png`) are volumes
    where there are no others.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds no volume, two with one stem, one whose name is no case id,
            or softmax files of some cases and volumes alone of others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        is_file = "; it is a file: name the folder" if folder.is_file() else ""
        raise FileNotFoundError(f"{folder}: no such folder{is_file}")
    files: dict[str, Path] = {}
    softmax: dict[str, Path] = {}
    others: list[Path] = []
    shown = _shown(folder)
    kinds = {file_suffix(path) for path in shown if not path.is_dir()}
    no_volumes = {PICTURES} if kinds - {None, NPZ, PICTURES} else set[str]()
    for path in shown:
        stem = file_stem(path)
        if path.is_dir() or stem is None or file_suffix(path) in no_volumes:
            others.append(path)
            continue
        try:
            case_id = check_case_id(stem)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        own = softmax if file_suffix(path) == NPZ else files
        if case_id in own:
            first = own[case_id].name
            raise ValueError(
                f"case {case_id} occurs twice: {first} and {path.name} in {folder}"
                f"{other_spelling(file_stem(first) or '', stem)}"
            )
        own[case_id] = path
    passed_over = [path for path in others if not path.is_dir()]
    if softmax:
        _check_one_form(folder, softmax, files)
        files = softmax
    if not files:
        raise ValueError(f"{folder}: holds no {_kinds_read()}{_instead(others)}")
    if passed_over:
        _log.warning(
            "%s: %d files are no %s and are passed over: %s",
            folder,
            len(passed_over),
            _kinds_read(no_volumes),
            _kinds(passed_over),
        )
    return files


def _kinds_read(but: Collection[str] = ()) -> str:
    """What a volume is, for messages."""
    return f"volume ({', '.join(s for s in SUFFIXES if s not in but)})"


def _check_one_form(
    folder: Path, softmax: Mapping[str, Path], others: Mapping[str, Path]
) -> None:
    """Refuse a folder where some cases have a softmax and some a volume alone.

    A volume without a softmax is then the segmentation of a case whose softmax was not
    written, or a map of another kind.

    Raises:
        ValueError: There is one.
    """
    alone = [path.name for stem, path in others.items() if stem not in softmax]
    if alone:
        raise ValueError(
            f"{folder}: mixes forms: {len(softmax)} softmax files (.npz), but "
            f"{some_names(alone)} without one, taken for a segmentation; predict again "
            "with --save_probabilities, or keep one form"
        )


def match_folders(
    probs_dir: PathLike,
    labels_dir: PathLike,
    *,
    allow_missing: bool = False,
    unit_pattern: str | None = None,
) -> Cohort:
    """Pair the volumes of two folders by file stem, sorted by name.

    A folder of references that holds folders and no file has one of them a rater.

    Args:
        probs_dir: Folder of maps.
        labels_dir: Folder of references.
        allow_missing: Record files without a partner instead of refusing them.
        unit_pattern: Finds the unit in a case id, see `units_of`.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: A folder holds no volume, two files share a stem, two maps are
            one file, folders look like one a patient, or no file has a partner.
        ExceptionGroup: Files have no partner; one exception each.
    """
    probs_dir, labels_dir = Path(probs_dir), Path(labels_dir)
    raters = _rater_folders(labels_dir)
    probs = nifti_files(probs_dir)
    check_maps_differ(probs.items(), f"{probs_dir}")
    references = {normal_form(rater.name): nifti_files(rater) for rater in raters}
    _check_raters(references, probs, labels_dir)
    references = references or {"": nifti_files(labels_dir)}
    if named := known_parts(probs_dir):
        references = _of_maps(references, {*probs, *named}, probs_dir)
    pairs = [
        _pair(probs, labels, rater, (probs_dir, labels_dir / rater))
        for rater, labels in references.items()
    ]
    lines = [line for pair in pairs for line in pair.lines]
    hint = next((pair.hint for pair in pairs if pair.hint), "")
    if lines and not allow_missing:
        raise ExceptionGroup(
            f"{plural(len(lines), 'file', 'has', 'have')} no partner{hint}",
            [ValueError(line) for line in lines],
        )
    for pair, rater in zip(pairs, references, strict=True):
        if not pair.cases:
            where = labels_dir / rater
            raise ValueError(f"no file of {probs_dir} has a partner in {where}{hint}")
    excluded = {why: ids for pair in pairs for why, ids in pair.excluded.items()}
    cases = sorted(
        (case for pair in pairs for case in pair.cases),
        key=lambda case: (case.case_id, case.rater),
    )
    with_own = with_units(cases, unit_pattern)
    if unit_pattern is None and (units := known_units(probs_dir)):
        with_own = tuple(
            replace(c, unit=units.get(c.case_id, c.unit)) for c in with_own
        )
    return Cohort(with_parts(with_own), excluded)


def _of_maps(
    references: Mapping[str, Mapping[str, Path]], wanted: Collection[str], folder: Path
) -> dict[str, dict[str, Path]]:
    """References of cases that the record beside the maps knows; says how many are not.

    A folder of a part of the cases needs no folder of their references alone.
    """
    kept = {
        rater: {stem: path for stem, path in files.items() if stem in wanted}
        for rater, files in references.items()
    }
    others = {stem for files in references.values() for stem in files} - set(wanted)
    if others:
        _log.warning(
            "%s: a record beside the maps names their cases; references of %d others are "
            "passed over",
            folder,
            len(others),
        )
    return kept


class _Pair(NamedTuple):
    """Maps and the references of one folder: what meets, and what does not."""

    cases: list[Case]
    excluded: dict[str, tuple[str, ...]]
    lines: list[str]
    hint: str


def _pair(
    probs: Mapping[str, Path],
    labels: Mapping[str, Path],
    rater: str,
    folders: tuple[Path, Path],
) -> _Pair:
    no_labels = sorted(probs.keys() - labels.keys())
    no_probs = sorted(labels.keys() - probs.keys())
    of = f" ({rater})" if rater else ""
    unmatched = {f"no_reference{of}": no_labels, f"no_map{of}": no_probs}
    lines = [f"{probs[s]} (case {s}): no reference in {folders[1]}" for s in no_labels]
    lines += [f"{labels[s]} (case {s}): no map in {folders[0]}" for s in no_probs]
    both = sorted(probs.keys() & labels.keys())
    return _Pair(
        [Case(s, probs[s], labels[s], unit=s, rater=rater) for s in both],
        {why: tuple(ids) for why, ids in unmatched.items() if ids},
        lines,
        name_hint(
            no_labels,
            no_probs,
            ("the maps", "the references"),
            "rename them, or list the pairs in a cohort.csv",
        ),
    )


def name_hint(
    some: Collection[str],
    others: Collection[str],
    what: tuple[str, str],
    way_out: str = "rename them",
) -> str:
    """What would make the names of two folders meet: an ending, as `_0000` or `_seg`.

    Args:
        some: Names of one folder without a partner.
        others: Those of the other one.
        what: What the folders hold, for the sentence.
        way_out: What to do about it.

    Returns:
        A clause that starts with `;`, empty where no ending explains half of them.
    """
    of = {head: ending for name in others for head, ending in _heads(name)}
    pairs = Counter(
        (ending, of[head])
        for name in some
        for head, ending in _heads(name)
        if head in of
    )
    if not pairs:
        return ""
    (first, second), count = pairs.most_common(1)[0]
    if 2 * count < min(len(some), len(others)):
        return ""
    return (
        f"; {what[0]} are named CASE{first} where {what[1]} are named CASE{second}: "
        f"{way_out}"
    )


def _heads(name: str) -> list[tuple[str, str]]:
    """Ways to take a name for a case and an ending."""
    head, mark, ending = name.rpartition("_")
    return [(name, "")] + ([(head, mark + ending)] if head else [])


def _shown(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files and companions."""
    return [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and path.name.lower() not in _COMPANION_NAMES
        and (not path.name.lower().endswith(_COMPANIONS) or path.is_dir())
    ]


def _kinds(files: Sequence[Path]) -> str:
    """Files by name, or by their endings where they are many."""
    if len(files) <= _FEW:
        return ", ".join(path.name for path in files)
    counts = Counter(_ending(path) for path in files).most_common()
    each = ", ".join(f"{count} {ending}" for ending, count in counts)
    return f"{each}, as {files[0].name}"


def _ending(path: Path) -> str:
    """The suffix, with a `.nii` before it; of a file without one its kind in words."""
    before = Path(path.stem).suffix.lower()
    suffix = path.suffix.lower()
    return (before if before == ".nii" else "") + suffix or "without an ending"


def _instead(others: Sequence[Path]) -> str:
    """What a folder without volumes holds, and the way out."""
    folders = [path for path in others if path.is_dir()]
    if folders:
        return (
            f"; it holds {len(folders)} folders ({some_names(p.name for p in folders)}): "
            "name files anywhere in a cohort.csv"
        )
    return f"; it holds {_kinds(others)}" if others else ""


def _rater_folders(folder: Path) -> list[Path]:
    """Folders of raters, sorted by name; none where the folder holds volumes."""
    shown = _shown(folder) if folder.is_dir() else []
    raters = shown if shown and all(path.is_dir() for path in shown) else []
    first: dict[str, str] = {}
    for path in raters:
        name = check_name(f"{folder}: the name of rater", path.name)
        if first.setdefault(name, path.name) != path.name:
            why = other_spelling(first[name], path.name)
            raise ValueError(f"{folder}: rater {name} has two folders{why}")
    return raters


def _check_raters(
    references: Mapping[str, Mapping[str, Path]],
    probs: Mapping[str, Path],
    folder: Path,
) -> None:
    """Refuse folders that are one a patient: raters share cases, patients do not.

    Raises:
        ValueError: No two folders hold a file of one name, or none is named as a map.
    """
    counts = Counter(stem for files in references.values() for stem in files)
    if len(references) < 2 or (max(counts.values()) > 1 and probs.keys() & counts):
        return
    raise ValueError(
        f"{folder}: its {len(references)} folders ({some_names(references)}) share no "
        "case that has a map, so they are one a patient and not one a rater: list the "
        "files in a cohort.csv (case_id,probs,labels)"
    )
