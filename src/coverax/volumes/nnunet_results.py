"""Folders of nnU-Net results as a cohort: predictions, or the validations of its folds."""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coverax.files import publish_text
from coverax.volumes.nnunet_dataset import Dataset, find_dataset

_LABELS = (".nii.gz", ".nii", ".mha", ".nrrd", ".mhd")


@dataclass(frozen=True, slots=True)
class FoundResults:
    """What a folder of nnU-Net results holds.

    Attributes:
        cases: Case id to map, reference and fold (empty without folds).
        dataset: What its `dataset.json` says, where there is one.
        left_out: Why, to the ids of what is no case of the cohort.
        notes: What a user should know.
    """

    cases: dict[str, tuple[Path, Path, str]]
    dataset: Dataset | None
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def fold_sizes(self) -> dict[str, int]:
        """Cases of each fold."""
        return dict(sorted(Counter(fold for _, _, fold in self.cases.values()).items()))

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        regions = self.dataset.regions if self.dataset else ()
        return {
            "n_cases": len(self.cases),
            "folds": self.fold_sizes
            if any(f for _, _, f in self.cases.values())
            else {},
            "regions": [str(region) for region in regions],
            "kind": self.dataset
            and ("regions" if self.dataset.is_regions else "labels"),
            "ignore_label": self.dataset.ignore_label if self.dataset else None,
            "left_out": self.left_out,
            "notes": self.notes,
        }


def find_results(
    results: Path, labels_dir: Path, *, folds: bool = False
) -> FoundResults:
    """Match the softmax files of a folder of results with references, by case.

    Args:
        results: Folder of `CASE.npz`; with `folds` the one that holds `fold_0`, ...
        labels_dir: References, `CASE` with a suffix that a reader takes.
        folds: Take `fold_*/validation`, each case under the model that never saw it.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: There is no map, one fold alone, or a case lies in two folds.
    """
    results, labels_dir = Path(results), Path(labels_dir)
    for folder in (results, labels_dir):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
    where = _fold_folders(results) if folds else {"": results}
    maps: dict[str, tuple[Path, str]] = {}
    unmapped: list[str] = []
    for fold, folder in where.items():
        found = {p.stem: p for p in sorted(folder.glob("*.npz"))}
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
    labels = {stem: p for p in sorted(labels_dir.iterdir()) if (stem := _stem(p))}
    unlabelled = sorted(maps.keys() - labels.keys())
    unpredicted = sorted(labels.keys() - maps.keys() - set(unmapped))
    left_out = {
        "no reference": unlabelled,
        "a segmentation without its softmax": unmapped,
        "no map": unpredicted,
    }
    cases = {
        case_id: (path, labels[case_id], fold)
        for case_id, (path, fold) in sorted(maps.items())
        if case_id in labels
    }
    if not cases:
        raise ValueError(f"no map of {results} has a reference in {labels_dir}")
    first = next(iter(maps.values()))[0]
    found = FoundResults(
        cases,
        find_dataset(first.parent),
        {why: ids for why, ids in left_out.items() if ids},
    )
    found.notes.extend(_notes(found, results, folds))
    return found


def write_cohort(found: FoundResults, output: Path) -> None:
    """Write the cohort as CSV, paths relative to it where they can be."""
    text = io.StringIO(newline="")
    has_folds = any(fold for _, _, fold in found.cases.values())
    columns = ["case_id", "probs", "labels", *(["fold"] if has_folds else [])]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for case_id, (probs, labels, fold) in found.cases.items():
        paths = [_relative(path, output.parent) for path in (probs, labels)]
        writer.writerow([case_id, *paths, *([fold] if has_folds else [])])
    publish_text(output, text.getvalue())


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
        wanted = {str(i) for split in splits for i in split["val"]}
        where = {str(i): str(k) for k, split in enumerate(splits) for i in split["val"]}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not the splits of nnU-Net ({error!r})") from None
    wrong = [i for i, (_, _, fold) in found.cases.items() if where.get(i, fold) != fold]
    if wrong:
        raise ValueError(
            f"{path} puts case {wrong[0]} into fold {where[wrong[0]]}, but its map lies in "
            f"fold {found.cases[wrong[0]][2]}: that model may have trained on it"
        )
    lost = sorted(wanted - found.cases.keys())
    if not lost:
        return []
    return [f"{len(lost)} cases of {path.name} are not there: {', '.join(lost[:3])}"]


def _stem(path: Path) -> str | None:
    for suffix in _LABELS:
        if path.name.endswith(suffix) and not path.name.startswith("."):
            return path.name.removesuffix(suffix)
    return None


def _stems(folder: Path) -> set[str]:
    return {stem for p in folder.iterdir() if (stem := _stem(p)) is not None}


def _relative(path: Path, folder: Path) -> str:
    here, there = folder.resolve(), path.resolve()
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)
