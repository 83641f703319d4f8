"""What lies beside scaled maps says of their cases."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from coverax.calibrate import map_digest
from coverax.checks import normal_form
from coverax.provenance import FITTED, TRAIN
from coverax.volumes import MapContent, ProbMap, file_stem, known_parts, map_content


def contents_of(prob_map: ProbMap, channels: Iterable[int]) -> list[MapContent]:
    """What the channels of a map hold."""
    shape = prob_map.file.grid.shape[::-1]
    return [map_content(prob_map.probs[c], shape) for c in sorted(channels)]


def map_digests(contents: Iterable[MapContent]) -> set[str]:
    """Digests of maps that are not constant."""
    return {map_digest(c.fingerprint) for c in contents if c.fingerprint}


def scaled_parts(
    maps: Mapping[str, Path], fitted_on: Collection[str]
) -> dict[str, str]:
    """Part of each scaled map, by file stem.

    Parts that the source folders name go on; of the others, those that the temperature
    was fitted on are one.

    Args:
        maps: Case id to the map before scaling.
        fitted_on: Cases that the temperature was fitted on.
    """
    known = {
        folder: known_parts(folder) for folder in {p.parent for p in maps.values()}
    }
    stems = {i: normal_form(file_stem(path) or "") for i, path in maps.items()}
    parts = {stems[case_id]: FITTED for case_id in sorted(fitted_on)}
    for case_id, path in maps.items():
        part = known[path.parent].get(stems[case_id], "")
        if part and (part == TRAIN or stems[case_id] not in parts):
            parts[stems[case_id]] = part
    return parts
