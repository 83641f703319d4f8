"""Folders of nnU-Net results as a cohort: predictions, or the validations of its folds."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coverax.checks import normal_form
from coverax.files import PathLike, one_line
from coverax.shown import plural
from coverax.table.columns import FOLD
from coverax.volumes.case import Case, check_maps_differ, with_units
from coverax.volumes.folders import nifti_files
from coverax.volumes.formats import file_stem
from coverax.volumes.names import other_spelling
from coverax.volumes.nnunet_dataset import Dataset, find_dataset


@dataclass(frozen=True, slots=True)
class FoundResults:
    """What a folder of nnU-Net results holds.

    Attributes:
        cases: Each with its map, reference, unit and, with folds, `fold`.
        dataset: What its `dataset.json` says, where there is one.
        reader: The class that read images and wrote segmentations, as `plans.json` has
            it.
        left_out: Why, to the ids of what is no case of the cohort.
        notes: What a user should know.
    """

    cases: tuple[Case, ...]
    dataset: Dataset | None
    reader: str | None
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def fold_sizes(self) -> dict[str, int]:
        """Cases of each fold; none without folds."""
        return dict(
            sorted(Counter(v for c in self.cases for _, v in c.columns).items())
        )

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        regions = self.dataset.regions if self.dataset else ()
        return {
            "n_cases": len(self.cases),
            "n_units": len({case.unit for case in self.cases}),
            "folds": self.fold_sizes,
            "reader": self.reader,
            "regions": [str(region) for region in regions],
            "kind": self.dataset
            and ("regions" if self.dataset.is_regions else "labels"),
            "ignore_label": self.dataset.ignore_label if self.dataset else None,
            "left_out": self.left_out,
            "notes": self.notes,
        }


def find_results(
    results: PathLike,
    labels_dir: PathLike,
    *,
    folds: bool = False,
    unit_pattern: str | None = None,
) -> FoundResults:
    """Match the softmax files of a folder of results with references, by case.

    Args:
        results: Folder of `CASE.npz`; with `folds` the one that holds `fold_0`, ...
        labels_dir: References, `CASE` with a suffix that a reader takes.
        folds: Take `fold_*/validation`, each case under the model that never saw it.
        unit_pattern: Finds the unit in a case id, see `units_of`.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: There is no map, one fold alone, a case lies in two folds, two maps
            are one file, or two references are of one case.
    """
    results, labels_dir = Path(results), Path(labels_dir)
    for folder in (results, labels_dir):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
    where = _fold_folders(results) if folds else {"": results}
    maps: dict[str, tuple[Path, str]] = {}
    unmapped: list[str] = []
    for fold, folder in where.items():
        found = _by_case(sorted(folder.glob("*.npz")))
        for case_id, path in found.items():
            if case_id in maps:
                raise ValueError(
                    f"case {case_id} lies in two folds: {maps[case_id][0]} and {path}"
                )
            maps[case_id] = (path, fold)
        unmapped += sorted(_stems(folder) - found.keys())
    if not maps:
        hint = "" if folds or not _has_folds(results) else "; did you mean --folds?"
        raise ValueError(
            f"{results}: holds no softmax (.npz); predict with --save_probabilities, or "
            f"validate with --npz{hint}"
        )
    check_maps_differ(((i, path) for i, (path, _) in maps.items()), str(results))
    labels = nifti_files(labels_dir)
    left_out = {
        "no reference": sorted(maps.keys() - labels.keys()),
        "a segmentation without its softmax": unmapped,
        "no map": sorted(labels.keys() - maps.keys() - set(unmapped)),
    }
    cases = [
        Case(i, path, labels[i], unit=i, columns=((FOLD, fold),) if folds else ())
        for i, (path, fold) in sorted(maps.items())
        if i in labels
    ]
    if not cases:
        raise ValueError(f"no map of {results} has a reference in {labels_dir}")
    first = next(iter(maps.values()))[0].parent
    found = FoundResults(
        with_units(cases, unit_pattern),
        find_dataset(first),
        _reader_of(first),
        {why: ids for why, ids in left_out.items() if ids},
    )
    found.notes.extend(_notes(found, results, folds))
    return found


def _fold_folders(results: Path) -> dict[str, Path]:
    """Fold to its folder of validation maps; every fold must have been validated."""
    folders = {
        p.name.removeprefix("fold_"): p / "validation"
        for p in sorted(results.glob("fold_*"))
        if p.name != "fold_all"
    }
    if len(folders) < 2:
        raise ValueError(
            f"{results}: holds {len(folders)} folds (fold_0, fold_1, ...); two or more "
            "are needed"
        )
    lacking = [
        str(f) for f in folders.values() if not f.is_dir() or not any(f.glob("*.npz"))
    ]
    if lacking:
        raise ValueError(
            f"{', '.join(lacking)}: no softmax of its validation (.npz); run the "
            "validation again with --val --npz"
        )
    return folders


def _has_folds(results: Path) -> bool:
    return any(results.glob("fold_*/validation"))


def _notes(found: FoundResults, results: Path, folds: bool) -> list[str]:
    notes = []
    if not folds and results.name == "validation":
        notes.append(
            f"{results} is the validation of one fold: its model is not the ensemble "
            "that predicts new cases; use --folds for a guarantee of the folds"
        )
    if folds:
        notes += _split_notes(found, results)
    return notes


def _split_notes(found: FoundResults, results: Path) -> list[str]:
    """Where `splits_final.json` says otherwise than the folders."""
    path = next(
        (
            p / "splits_final.json"
            for p in (results, *results.resolve().parents[:2])
            if (p / "splits_final.json").is_file()
        ),
        None,
    )
    if path is None:
        return []
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        wanted = {normal_form(str(i)) for split in splits for i in split["val"]}
        where = {
            normal_form(str(i)): str(k)
            for k, split in enumerate(splits)
            for i in split["val"]
        }
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: not the splits of nnU-Net ({one_line(repr(error))})"
        ) from None
    folds = {case.case_id: case.column(FOLD) for case in found.cases}
    wrong = [i for i, fold in folds.items() if where.get(i, fold) != fold]
    if wrong:
        raise ValueError(
            f"{path} puts case {wrong[0]} into fold {where[wrong[0]]}, but its map lies in "
            f"fold {folds[wrong[0]]}: that model may have trained on it"
        )
    lost = sorted(wanted - folds.keys())
    if not lost:
        return []
    n_lost = plural(len(lost), "case")
    return [f"{n_lost} of {path.name} not there: {', '.join(lost[:3])}"]


def _by_case(paths: list[Path]) -> dict[str, Path]:
    """Softmax files by the normal form of their stems.

    Raises:
        ValueError: Two stems are one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(normal_form(path.stem), path)
        if other != path:
            raise ValueError(
                f"case {path.stem} occurs twice in {path.parent}"
                f"{other_spelling(other.stem, path.stem)}"
            )
    return found


def _stems(folder: Path) -> set[str]:
    """Segmentations of a folder, by case."""
    return {
        normal_form(stem)
        for path in folder.iterdir()
        if not path.name.startswith(".") and (stem := file_stem(path)) is not None
    }


def _reader_of(folder: Path) -> str | None:
    """The reader that `plans.json` names, beside the maps or up to two levels above."""
    for place in (folder, *folder.resolve().parents[:2]):
        path = place / "plans.json"
        if path.is_file():
            try:
                return str(json.loads(path.read_text("utf-8"))["image_reader_writer"])
            except (ValueError, TypeError, KeyError):
                return None
    return None
