"""New scans against the calibration cohort, without references."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coverax.calibrate import (
    Calibration,
    map_features,
    map_histograms,
    unpack_histograms,
)
from coverax.files import Json, PathLike
from coverax.predict import check_first_mark, check_map_kind
from coverax.provenance import check_not_masks, kind_of_values
from coverax.rational import Level, as_fraction
from coverax.scores import N_CUTS, ScoreDefinition, resolve_engine
from coverax.stream import gather, map_cases
from coverax.validate.drift import histogram_p_value
from coverax.validate.exchangeability import drift_p_values, is_drift
from coverax.validate.results import DriftLook
from coverax.volumes import MapContent, map_content, read_probs

_MOST = 50_000  # permutations
_MEANING = (
    "A small p-value says that these maps differ from those that calibrated, so that the "
    "guarantee may not hold for them. A large one is no proof that it does: references "
    "were not looked at."
)
_LOOKS = (
    "The level is of one look (--once). Looks repeated at it add up: 52 weekly ones at level 0.05 "
    "raised a false alarm in 82 % of healthy years (simulated: 100 calibration scans, 20 "
    "new ones a week, three features). For L looks ask each at the level over L, "
    "or keep a monitor that may be looked at any number of times (--state)."
)


def monitor_folder(
    calibration: Calibration,
    maps: Mapping[str, PathLike],
    *,
    level: Level = "0.01",
    seed: int = 0,
    threads: int | None = None,
    allow_hard_masks: bool = False,
    on_case: Callable[[], None] = lambda: None,
) -> DriftLook:
    """Compare label-free features of new maps with the calibration cohort's.

    With exchangeable scans one look reports drift with probability at most `level`;
    looks add up, so that L of them need `level / L` each. The tests are exact two-sample
    Kolmogorov-Smirnov tests of three features and a permutation test of whole
    histograms, Bonferroni over regions and tests.

    Args:
        calibration: Carries the features of the maps that calibrated.
        maps: Case id to map; one a unit.
        level: Tolerated probability of a false alarm of this one look.
        seed: Seed of the permutations.
        threads: Reader threads.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        on_case: Called once a case, for progress.

    Returns:
        P-values by region and feature, whether any is an alarm, and how many of the
        maps calibrated themselves, by case id or by content.

    Raises:
        ValueError: The calibration carries no features (from folds, or a table without
            the grid), or left out voxels by their reference; or the maps are
            hard masks or of another origin than those that calibrated.
        ExceptionGroup: Maps failed; one exception each.
    """
    paths = {name: Path(path) for name, path in sorted(maps.items())}
    reference, definition = reference_of(calibration), calibration.definition
    check_first_mark(list(paths.values()), definition)

    def look(case_id: str) -> Looked:
        return look_at(paths[case_id], definition)

    looked: dict[str, Looked] = {}
    outcomes = map_cases(look, paths, threads=threads)
    gather(outcomes, list(paths), looked.__setitem__, on_case=on_case)
    contents = [
        (case_id, region.name, content)
        for case_id, found in looked.items()
        for region, content in zip(definition.regions, found.contents, strict=True)
    ]
    check_not_masks(
        [(case_id, region, kind_of_values(*c)) for case_id, region, c in contents],
        allow=allow_hard_masks or definition.allow_hard_masks,
    )
    counts = np.stack([found.counts for found in looked.values()])
    n_tests = sum(len(known) for known in reference.values())
    n_permutations = min(_MOST, math.ceil(10 * n_tests / float(as_fraction(level))))
    p_values: dict[str, float] = {}
    places = {region.name: k for k, region in enumerate(definition.regions)}
    for region, known in reference.items():  # those that calibrated
        found = _compare(known, counts[:, places[region]], n_permutations, seed)
        p_values |= {f"{region}.{name}": p for name, p in found.items()}
    return DriftLook(
        calibration_digest=calibration.digest,
        n_new=len(looked),
        n_seen_in_calibration=_n_seen(calibration, contents),
        level=float(as_fraction(level)),
        seed=seed,
        n_permutations=n_permutations,
        p_values=p_values,
        drift=is_drift(p_values, level),
        meaning=_MEANING,
        looks=_LOOKS,
    )


def reference_of(calibration: Calibration) -> Json:
    """Features of the maps that calibrated, by region.

    Raises:
        ValueError: It carries none, or left out voxels by their reference.
    """
    reference = calibration.parts.reference
    if reference is None:
        kind = " from folds" if calibration.folds else ""
        kind = " of sums of sites" if calibration.of_sites else kind
        raise ValueError(
            f"this calibration of method {calibration.method}{kind} carries nothing to "
            "compare with: it needs the maps of one model, and a table with the grid"
        )
    if calibration.definition.ignore_label is not None:
        raise ValueError(
            "voxels were left out by their reference label in calibration: maps without "
            "references cannot be compared with that"
        )
    return reference


def _n_seen(
    calibration: Calibration, contents: list[tuple[str, str, MapContent]]
) -> int:
    """Maps that calibrated themselves, by case id or by what they hold."""
    ids = [case_id for case_id, _, _ in contents]
    marks = [content.fingerprint for _, _, content in contents]
    return len(calibration.seen.units_among(ids, ids, marks))


def _compare(
    reference: Json, counts: np.ndarray, n_permutations: int, seed: int
) -> dict[str, float]:
    """P-value of each feature of a region, and of whole histograms."""
    n_voxels, n_predicted = counts[:, 0], counts[:, 1:]
    known = {name: np.array(v) for name, v in reference.items()}
    found = drift_p_values(known, map_features(n_voxels, n_predicted))
    found["histogram"] = histogram_p_value(
        unpack_histograms(reference["histogram"]),
        map_histograms(n_voxels, n_predicted),
        n_permutations=n_permutations,
        seed=seed,
    )
    return found


class Looked(NamedTuple):
    """Counts of a map, one row a region, and what its values say of it."""

    counts: np.ndarray
    contents: list[MapContent]


def look_at(path: Path, definition: ScoreDefinition) -> Looked:
    """Voxels of a map, and those at or above each cut, one row a region."""
    prob_map = read_probs(
        path,
        check_header=partial(check_map_kind, definition=definition),
        channels=definition.channels,
        logits=definition.logits,
        allow_overshoot=definition.allow_overshoot,
    )
    mine = np.stack([prob_map.of(region) for region in definition.regions])
    return looked(mine, prob_map.file.grid.shape[::-1])


def looked(probs: np.ndarray, shape: tuple[int, ...]) -> Looked:
    """Counts and content of the maps of all regions, `[regions, voxels]`."""
    nothing = np.zeros(probs.shape, bool)
    ops = resolve_engine("host").ops
    counts = ops.grid_counts(probs, nothing, N_CUTS).n_predicted
    return Looked(
        np.hstack([np.full((len(probs), 1), probs.shape[1]), counts]),
        [map_content(own, shape) for own in probs],
    )
