"""Maps as whole steps of 1/65535 or 1/255: a quarter of the bytes, and what it costs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt

from coverax._version import __version__
from coverax.checks import as_map, check_probabilities
from coverax.convert.maps import (
    carried_parts,
    copy_dataset,
    kinds_of,
    named_kinds,
    read_whole,
)
from coverax.files import Json, PathLike, digest_json, publish_sealed_json
from coverax.provenance import check_not_masks
from coverax.stream import fill_folder
from coverax.volumes import PACKED_RECORD, ProbMap, add_mark, write_map

BITS = (16, 8)
_KIND = "pack"


class Packed(NamedTuple):
    """What rounding did to a case, and what each of its channels holds."""

    facts: dict[str, int]
    kinds: list[str]


@dataclass(frozen=True, slots=True)
class MapPacker:
    """Packs the map of one case; it can travel to other processes."""

    bits: int

    def __call__(self, case_id: str, path: Path, folder: Path) -> Packed:
        """Write the map, and say what rounding did to it."""
        prob_map = _read(path)
        steps, step = _steps(prob_map.probs, self.bits), step_of(self.bits)
        target, mark = folder / f"{case_id}.nii.gz", _mark(prob_map, self.bits)
        write_map(target, steps, prob_map.file, slope=step, mark=mark)
        return _packed(prob_map, steps)


def step_of(bits: int) -> float:
    """Distance between packed values, as the header of a file holds it (float32).

    Raises:
        ValueError: The number of bits is another than 16 or 8.
    """
    if bits not in BITS:
        raise ValueError(f"maps are packed to 16 or 8 bits, not {bits}")
    return float(np.float32(1 / (2**bits - 1)))


def rounded(
    probs: Float[np.ndarray, "*shape"], bits: int = 16
) -> Float[np.ndarray, "*shape"]:
    """Probabilities as they are read back from a packed file, float32.

    Each is the nearest multiple of 1/65535 or 1/255, ties to the even one; 0 and 1 stay.

    Args:
        probs: Values in [0, 1].
        bits: 16 or 8.

    Raises:
        TypeError: They are not of a float type.
        ValueError: Values are no probabilities, or the number of bits is another.
    """
    values = as_map(probs)
    check_probabilities(values)
    return (_steps(values, bits) * step_of(bits)).astype(np.float32)


def pack_folder(
    maps: Mapping[str, PathLike],
    output: PathLike,
    *,
    bits: int = 16,
    threads: int | None = None,
    resume: bool = False,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    allow_hard_masks: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> Json:
    """Write maps as `CASE.nii.gz` of integers, and a record of what rounding did.

    Values are those of `rounded`. A mark in each header makes packed maps a kind of
    their own: scores of one kind say nothing of maps of another. A map that is stored in
    these very steps keeps its mark. The folder appears when it is complete.

    Args:
        maps: Case id to map of any format; all its channels are kept.
        output: A new folder, or an empty one.
        bits: 16 or 8.
        threads: Cases at a time.
        resume: Keep the finished maps of an interrupted run.
        verify_inputs: With `resume`, tell a replaced map by its content too.
        allow_missing: Publish without the maps that failed.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Returns:
        Number of cases, step, shares of the voxels (of all channels) that became 0 or 1,
        median number of distinct values of a map before and after, failed cases.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Maps failed; one exception each, naming case and file.
        ValueError: Maps are hard masks, or the number of bits is another.
    """
    step_of(bits)  # is there one
    paths = {case_id: Path(path) for case_id, path in maps.items()}
    found: dict[str, Packed] = {}
    summary: Json = {}

    def take(case_id: str, value: Iterable[Any]) -> None:
        found[case_id] = Packed(*value)  # a list where an earlier run has kept it

    def finish(folder: Path, failures: dict[str, str]) -> None:
        kept = {i: path for i, path in paths.items() if i not in failures}
        kinds = named_kinds({case_id: found[case_id].kinds for case_id in kept})
        check_not_masks(kinds, allow=allow_hard_masks)
        facts = {case_id: found[case_id].facts for case_id in sorted(kept)}
        summary.update(_summary(facts, bits))
        record: Json = {"schema": 1, "coverax": __version__, **summary}
        record |= {"maps": facts, "parts": carried_parts(kept), "failed": failures}
        written = [folder / f"{case_id}.nii.gz" for case_id in sorted(kept)]
        written += copy_dataset(kept.values(), folder)
        publish_sealed_json(folder / PACKED_RECORD, record, written)

    failures = fill_folder(
        output,
        paths,
        MapPacker(bits),
        files={case_id: [f"{case_id}.nii.gz"] for case_id in paths},
        kind="packing",
        meaning={_KIND: bits},
        threads=threads,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        on_done=take,
        on_case=on_case,
        on_note=on_note,
        finish=finish,
    )
    n_cases = len(paths) - len(failures)
    return {"n_cases": n_cases, **summary, "failed": failures}


def _read(path: Path) -> ProbMap:
    """A map in [0, 1]: what leaves it has no step."""
    prob_map = read_whole(path, allow_overshoot=True)
    if prob_map.overshoot:
        raise ValueError(
            f"{path}: values leave [0, 1] by up to {prob_map.overshoot:.3g} and would be "
            "clipped in silence: write them in [0, 1]"
        )
    return prob_map


def _steps(
    values: Float[np.ndarray, "*shape"], bits: int
) -> UInt[np.ndarray, "*shape"]:
    """The number of whole steps nearest to each value."""
    step, dtype = step_of(bits), np.dtype(f"uint{bits}")
    out = np.empty(values.shape, dtype)
    for place in np.ndindex(values.shape[:1] if values.ndim > 1 else ()):
        exact = values[place].astype(np.float64)
        out[place] = np.minimum(np.rint(exact / step), np.iinfo(dtype).max)
    return out


def _mark(prob_map: ProbMap, bits: int) -> str:
    """The mark of a packed map: one step more, where something was rounded."""
    file, step = prob_map.file, step_of(bits)
    if (file.dtype.name, *file.scale) == (f"uint{bits}", step, 0.0):
        return file.mark
    return add_mark(file.mark, _KIND, digest_json({"bits": bits}))


def _packed(prob_map: ProbMap, steps: UInt[np.ndarray, "channels voxels"]) -> Packed:
    probs, most = prob_map.probs, np.iinfo(steps.dtype).max
    facts = {
        "n_values": probs.size,
        "n_became_zero": int(np.count_nonzero((steps == 0) & (probs > 0))),
        "n_became_one": int(np.count_nonzero((steps == most) & (probs < 1))),
        "n_distinct_before": int(np.unique(probs).size),
        "n_distinct": int(np.count_nonzero(np.bincount(steps.reshape(-1)))),
    }
    return Packed(facts, kinds_of(prob_map))


def _summary(facts: Mapping[str, dict[str, int]], bits: int) -> Json:
    """What rounding did over all cases."""

    def column(name: str) -> list[int]:
        return [own[name] for own in facts.values()]

    n_values = sum(column("n_values"))
    return {
        "bits": bits,
        "step": step_of(bits),
        "share_became_zero": sum(column("n_became_zero")) / n_values,
        "share_became_one": sum(column("n_became_one")) / n_values,
        "median_distinct_before": float(np.median(column("n_distinct_before"))),
        "median_distinct": float(np.median(column("n_distinct"))),
    }
