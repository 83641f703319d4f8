"""What every conversion of maps shares: reading them whole, and what lies beside them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from coverax.checks import normal_form
from coverax.files import publishing
from coverax.volumes import (
    ProbMap,
    dataset_of,
    file_stem,
    known_parts,
    map_values,
    read_header,
    read_probs,
)

_DATASET = "dataset.json"


def read_whole(path: Path, *, allow_overshoot: bool = False) -> ProbMap:
    """All channels of a map.

    Raises:
        FileNotFoundError, ValueError: As `read_probs`.
    """
    n_channels = read_header(path).n_channels
    return read_probs(path, channels=range(n_channels), allow_overshoot=allow_overshoot)


def kinds_of(prob_map: ProbMap) -> list[str]:
    """What each channel holds: soft values, 0 and 1 alone, or nothing but one value."""
    return [map_values(row) for row in prob_map.probs]


def named_kinds(kinds: Mapping[str, Iterable[str]]) -> list[tuple[str, str, str]]:
    """Case, channel and kind of every map, as `check_not_masks` takes them."""
    return [
        (case_id, f"channel {channel}", kind)
        for case_id, own in kinds.items()
        for channel, kind in enumerate(own)
    ]


def carried_parts(maps: Mapping[str, Path]) -> dict[str, str]:
    """Case id to the part that a record beside its map names."""
    known = {
        folder: known_parts(folder) for folder in {p.parent for p in maps.values()}
    }
    found = {
        case_id: known[path.parent].get(normal_form(file_stem(path) or ""), "")
        for case_id, path in maps.items()
    }
    return {case_id: part for case_id, part in found.items() if part}


def copy_dataset(maps: Iterable[Path], folder: Path) -> list[Path]:
    """Lay `dataset.json` beside maps made of those it speaks of: it names their channels.

    Returns:
        The copy; nothing where there is none, or maps are of several.
    """
    found = {dataset_of(path) for path in maps}
    if len(found) != 1 or None in found:
        return []
    (dataset,) = found
    copy = folder / _DATASET
    with publishing(copy) as temporary:
        temporary.write_bytes(dataset.path.read_bytes() if dataset else b"")
    return [copy]
