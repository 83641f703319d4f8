"""Losses of a case at a cut of its map: built in, written by the user, or in a table.

A larger cut takes fewer voxels, so the safe end is the small cut for what is missed and
the large one for false alarms.
"""

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from coverax.checks import normal_form
from coverax.choices import LossName, Safe
from coverax.files import PathLike
from coverax.shown import plural
from coverax.table import ComponentEvents


class Counts(NamedTuple):
    """Voxel and lesion counts of cases at cuts, ascending.

    Attributes:
        cuts: The mask is `{probs >= cut}`.
        n_voxels: Voxels that count.
        n_foreground: Voxels of the reference.
        n_predicted: Voxels of the mask.
        n_true_positive: Voxels of both.
        n_lesions: Connected components of the reference; None where the table has none.
        n_lesions_missed: Those that the mask does not touch.
        n_components: Connected components of the mask; None where nobody counted them.
        n_false_components: Those that touch no voxel of the reference.
    """

    cuts: Float[np.ndarray, " cuts"]
    n_voxels: Int[np.ndarray, "cases 1"]
    n_foreground: Int[np.ndarray, "cases 1"]
    n_predicted: Int[np.ndarray, "cases cuts"]
    n_true_positive: Int[np.ndarray, "cases cuts"]
    n_lesions: Int[np.ndarray, "cases 1"] | None = None
    n_lesions_missed: Int[np.ndarray, "cases cuts"] | None = None
    n_components: Int[np.ndarray, "cases cuts"] | None = None
    n_false_components: Int[np.ndarray, "cases cuts"] | None = None


def with_lesions(counts: Counts, peaks: list[np.ndarray]) -> Counts:
    """Add the lesions of each row, and those below each cut: all of a lesion is missed.

    Args:
        counts: Counts of rows at cuts, in any order.
        peaks: Critical probability of each lesion of each row, ascending.
    """
    return counts._replace(
        n_lesions=np.array([[own.size] for own in peaks]),
        n_lesions_missed=np.stack([np.searchsorted(p, counts.cuts) for p in peaks]),
    )


def with_components(counts: Counts, events: list[ComponentEvents]) -> Counts:
    """Add the components of the masks of each row at each cut."""
    each = [own.at(counts.cuts) for own in events]
    return counts._replace(
        n_components=np.stack([own.n for own in each]),
        n_false_components=np.stack([own.n_false for own in each]),
    )


class Loss(NamedTuple):
    """A loss of a case, what it is called, and where it is safe.

    A user's own is one of these, in place of a name.

    Attributes:
        of: Loss of each row and cut, `[cases, cuts]`, from the counts.
        words: For statements: "expected <words> is at most ...".
        safe_sign: -1 where small cuts are safe, 1 where large ones are.
        is_monotone: Whether a safer cut never loses more; checked on every table.
        name: What calibrations and reports call it.
        bound: Largest value; CRC alone takes others than 1.
        jumps_at_lesions: Whether it depends on lesion counts alone, so that CRC can
            look at the cohort's own lesion peaks.
    """

    of: Callable[[Counts], np.ndarray]
    words: str
    safe_sign: Literal[-1, 1]
    is_monotone: bool
    name: str
    bound: float = 1.0
    jumps_at_lesions: bool = False


@dataclass(frozen=True, slots=True)
class LossCurves:
    """Losses that were computed elsewhere, at cuts of their own.

    Attributes:
        cuts: Ascending, in [0, 1]; the mask is `{probs >= cut}`.
        of_case: Case id to its loss at each cut.
        safe_sign: -1 where small cuts are safe, 1 where large ones are.
        name: What calibrations and reports call it.
        digest: SHA-256 of the file; empty for losses in memory.
        bound: Largest value a loss can have; CRC alone takes others than 1.
    """

    cuts: Float[np.ndarray, " cuts"]
    of_case: dict[str, Float[np.ndarray, " cuts"]]
    safe_sign: Literal[-1, 1]
    name: str = "own"
    digest: str = ""
    bound: float = 1.0
    is_monotone: bool = True

    @property
    def words(self) -> str:
        """For statements."""
        return f"loss {self.name!r}, computed by the user,"

    def rows(self, case_ids: np.ndarray) -> Float[np.ndarray, "cases cuts"]:
        """Losses of cases, in their order.

        Raises:
            ValueError: A case has none.
        """
        missing = [str(i) for i in case_ids if i not in self.of_case]
        if missing:
            raise ValueError(
                f"loss {self.name!r} has no row for {plural(len(missing), 'case')} of "
                f"the table, as {', '.join(missing[:5])}"
            )
        return np.stack([self.of_case[i] for i in case_ids])


def read_loss_curves(path: PathLike, *, safe: Safe) -> LossCurves:
    """Read a CSV of `case_id` and one column a cut, named by the cut.

    Args:
        path: The file.
        safe: Whether small or large cuts are safe: where the loss is small.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is no cut in [0, 1], a cell is no number, cuts do not
            ascend, or a case occurs twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of losses")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header, *lines = list(csv.reader(stream, strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if header[:1] != ["case_id"] or len(header) < 2:
        raise ValueError(
            f"{path}: expected columns case_id and one a cut, got {header!r:.80}"
        )
    # Masks are cut in float32: a cut is the float32 nearest to what is written.
    cuts = np.array([_number(cell, path, 1) for cell in header[1:]], np.float32)
    if not ((cuts >= 0) & (cuts <= 1)).all() or not (np.diff(cuts) > 0).all():
        raise ValueError(f"{path}: columns must be cuts in [0, 1], ascending")
    of_case: dict[str, np.ndarray] = {}
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(line)} cells for {len(header)} columns"
            )
        case_id = normal_form(line[0])
        if case_id in of_case:
            raise ValueError(f"{path}: case {case_id} occurs twice")
        of_case[case_id] = np.array([_number(cell, path, number) for cell in line[1:]])
    return LossCurves(
        cuts,
        of_case,
        -1 if safe == "small" else 1,
        name=path.stem,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _number(cell: str, path: Path, line: int) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{path}, line {line}: {cell!r:.40} is no number") from None


def fnr_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """Missed share of the reference; 0 for an empty reference."""
    return _share(counts.n_foreground - counts.n_true_positive, counts.n_foreground)


def fpr_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """Marked share of the background; 0 without background."""
    n_false = counts.n_predicted - counts.n_true_positive
    return _share(n_false, counts.n_voxels - counts.n_foreground)


def dice_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """1 - Dice; 0 where reference and mask are both empty. Not monotone: for LTT."""
    n_both = counts.n_foreground + counts.n_predicted
    return _share(n_both - 2 * counts.n_true_positive, n_both)


def precision_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """Share of the mask that is false; 0 for an empty mask. Not monotone: for LTT.

    A larger cut takes true voxels away as well as false ones.
    """
    return _share(counts.n_predicted - counts.n_true_positive, counts.n_predicted)


def iou_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """1 - IoU (Jaccard); 0 where reference and mask are both empty. For LTT."""
    n_either = counts.n_foreground + counts.n_predicted - counts.n_true_positive
    return _share(n_either - counts.n_true_positive, n_either)


def relative_volume_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """Error of the volume as a share of the true one, at most 1. For LTT.

    A mask of an empty reference loses 1, no mask 0.
    """
    error = np.abs(counts.n_predicted - counts.n_foreground)
    return np.minimum(error / np.maximum(counts.n_foreground, 1), 1.0)


def missed_lesions_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """Share of the lesions that the mask does not touch; 0 without lesions.

    Raises:
        ValueError: The table knows nothing of lesions.
    """
    if counts.n_lesions is None or counts.n_lesions_missed is None:
        raise ValueError("the table has no lesions; score again with --lesions")
    return _share(counts.n_lesions_missed, counts.n_lesions)


def false_lesions_loss(counts: Counts) -> Float[np.ndarray, "cases cuts"]:
    """Share of the mask's components that touch no reference; 0 without components.

    Not monotone: components merge as the cut falls, and all of the image is one that
    touches. For LTT, beside a loss that small masks have.

    Raises:
        ValueError: The table knows nothing of the components of masks.
    """
    if counts.n_components is None or counts.n_false_components is None:
        raise ValueError(
            "the table has no lesions of masks; score again with --lesions and "
            "--mask-lesions"
        )
    return _share(counts.n_false_components, counts.n_components)


LOSSES: dict[LossName, Loss] = {
    "fnr": Loss(fnr_loss, "share of its reference that is missed", -1, True, "fnr"),
    "fpr": Loss(fpr_loss, "share of its background that is marked", 1, True, "fpr"),
    "dice": Loss(dice_loss, "1 - Dice coefficient", -1, False, "dice"),
    "missed_lesions": Loss(
        missed_lesions_loss,
        "share of its lesions that the mask does not touch",
        -1,
        True,
        "missed_lesions",
        jumps_at_lesions=True,
    ),
    "false_lesions": Loss(
        false_lesions_loss,
        "share of the mask's lesions that touch no reference",
        1,
        False,
        "false_lesions",
    ),
    "precision": Loss(
        precision_loss, "share of the mask that is false", 1, False, "precision"
    ),
    "iou": Loss(iou_loss, "1 - intersection over union", -1, False, "iou"),
    "relative_volume": Loss(
        relative_volume_loss,
        "error of the volume as a share of the true one (at most 1)",
        -1,
        False,
        "relative_volume",
    ),
}


def find_loss(loss: "LossName | Loss | LossCurves") -> "Loss | LossCurves":
    """The loss of a name; a user's own as it is.

    Raises:
        ValueError: A loss of the user's own has the name of one that is built in.
    """
    if isinstance(loss, str):
        return LOSSES[loss]
    if is_own(loss) and loss.name in LOSSES:
        raise ValueError(f"loss name {loss.name} is taken: call your own otherwise")
    return loss


def is_own(loss: "Loss | LossCurves") -> bool:
    """Whether a loss is the user's."""
    return all(loss is not known for known in LOSSES.values())


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
