"""New scans, and their references, against a calibration: a monitor with a memory."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coverax.calibrate import Calibration, map_digest, map_features, unit_digests
from coverax.files import Json, PathLike, sound
from coverax.locks import locked
from coverax.predict import check_first_mark, check_map_kind
from coverax.provenance import check_not_masks, kind_of_values
from coverax.rational import Level
from coverax.scores import load_case
from coverax.stream import gather, map_cases
from coverax.validate.memory import (
    Memory,
    capitals,
    open_memory,
    summary,
    write_memory,
)
from coverax.validate.monitor import Looked, look_at, looked, reference_of
from coverax.validate.promise import check_watched, outcomes_of
from coverax.validate.results import Capital, WatchedLook
from coverax.volumes import Case, read_probs

MEANING = (
    "While new scans are exchangeable with those that calibrated, the capital ever reaches "
    "the alarm with probability at most the level, however often one looks. An alarm says "
    "that the guarantee may not hold any more; none is no proof that it does."
)


def watch_folder(
    calibration: Calibration,
    maps: Mapping[str, PathLike],
    state: PathLike,
    *,
    labels: Mapping[str, PathLike] | None = None,
    units: Mapping[str, str] | None = None,
    level: Level | None = None,
    seed: int | None = None,
    threads: int | None = None,
    allow_hard_masks: bool = False,
    on_case: Callable[[], None] = lambda: None,
) -> WatchedLook:
    """Take what is new of a folder into the memory of a monitor, and say what it means.

    With exchangeable units the probability of an alarm, at any look ever, is at most
    `level`; for promises with confidence, unless the calibration set is one of those for
    which the promise fails. A unit counts once: by the first of its scans, in the order
    of looks and, within a look, of case ids. So folders may grow, be split or joined: the
    same order gives the same capital.

    Args:
        calibration: Carries the features of the maps that calibrated, and its promise.
        maps: Case id to map.
        state: Where the memory lies; made by the first look.
        labels: Case id to reference, of some of the maps; references may come later
            than their maps. Whether there are any is settled by the first look.
        units: Unit of each case; the case itself by default.
        level: Tolerated probability of a false alarm, ever; 0.01 by default.
        seed: Seed of the numbers that break ties of features; 0 by default.
        threads: Reader threads.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        on_case: Called once a map that is read, for progress.

    Raises:
        BlockingIOError: Another run writes this state.
        ExceptionGroup: Maps failed; one exception each. Nothing is remembered then.
        ValueError: The state is of another calibration, altered or of a later version;
            the calibration has nothing to compare with, or a promise that references
            cannot be bet on; a reference has no map; or maps are hard masks or of another
            origin than those that calibrated.
    """
    reference, state = reference_of(calibration), Path(state)
    paths = {case_id: Path(path) for case_id, path in sorted(maps.items())}
    known_labels = {case_id: Path(path) for case_id, path in (labels or {}).items()}
    if labels is not None:
        check_watched(calibration)
        _check_maps_of(known_labels, paths)
    unit_of = {case_id: (units or {}).get(case_id, case_id) for case_id in paths}
    with locked(state):
        memory = open_memory(
            state,
            calibration,
            level=level,
            seed=seed,
            with_references=labels is not None,
        )
        chosen = _choose(calibration, memory, unit_of, known_labels)
        check_first_mark(list(paths.values()), calibration.definition)

        def read_one(case_id: str) -> "_Read":
            label = known_labels.get(case_id) if case_id in chosen.judged else None
            return _read(calibration, case_id, paths[case_id], label)

        found: dict[str, _Read] = {}
        wanted = sorted({*chosen.seen, *chosen.judged})
        outcomes = map_cases(read_one, wanted, threads=threads)
        gather(outcomes, wanted, found.__setitem__, on_case=on_case)
        _check_soft(calibration, found, allow_hard_masks)
        copies = _remember(calibration, memory, chosen, unit_of, found)
        with sound(state, "monitor state"):
            result = summary(memory, capitals(calibration, reference, memory))
        if found.keys() - copies:
            write_memory(state, memory, result)
    return WatchedLook(
        calibration_digest=calibration.digest,
        level=memory.level,
        seed=memory.seed,
        n_new=len(set(chosen.seen) - copies),
        n_new_references=len(set(chosen.judged) - copies),
        n_not_counted=len(paths) - len(set(wanted) - copies),
        n_looks=len(memory.looks),
        found=result,
        meaning=MEANING,
    )


def watched_capitals(calibration: Calibration, memory: Memory) -> dict[str, np.ndarray]:
    """Every capital of a memory after each unit, by name, times its share of the stake.

    Raises:
        ValueError: It is of another calibration.
    """
    if memory.calibration_digest != calibration.digest:
        raise ValueError("the state is of a monitor of another calibration")
    return capitals(calibration, reference_of(calibration), memory)


def watched(calibration: Calibration, memory: Memory) -> Capital:
    """What a memory says now.

    Raises:
        ValueError: It is of another calibration.
    """
    return summary(memory, watched_capitals(calibration, memory))


class _Chosen(NamedTuple):
    """Cases whose map is new, and those whose reference is."""

    seen: list[str]
    judged: list[str]


class _Read(NamedTuple):
    """What is read of a case: counts and content of its map, losses by region."""

    looked: Looked
    losses: Json | None


def _check_maps_of(labels: Mapping[str, Path], maps: Mapping[str, Path]) -> None:
    lost = sorted(labels.keys() - maps.keys())
    if lost:
        raise ValueError(
            f"{len(lost)} references have no map among the new ones, the first is "
            f"{labels[lost[0]]}"
        )


def _choose(
    calibration: Calibration,
    memory: Memory,
    unit_of: Mapping[str, str],
    labels: Mapping[str, Path],
) -> _Chosen:
    """The first case of each unit that was not counted before and did not calibrate."""
    names = list(unit_of)
    units = [unit_of[name] for name in names]
    calibrated = calibration.seen.units_among(units, names, [0] * len(names))

    def first(entries: list[Json], among: list[str]) -> list[str]:
        taken, out = memory.known("unit", entries), []
        for name in among:
            (digest,) = unit_digests([unit_of[name]])
            if digest not in taken and unit_of[name] not in calibrated:
                taken.add(digest)
                out.append(name)
        return out

    with_label = [name for name in names if name in labels]
    return _Chosen(first(memory.maps, names), first(memory.references, with_label))


def _read(
    calibration: Calibration, case_id: str, path: Path, label: Path | None
) -> _Read:
    definition = calibration.definition
    if label is None:
        return _Read(look_at(path, definition), None)
    check = partial(check_map_kind, definition=definition)
    case = Case(case_id, path, label, case_id)
    views = load_case(
        case, definition, read_map=partial(read_probs, check_header=check)
    ).views
    grid = views[0].grid
    shape = () if grid is None else grid.shape[::-1]
    losses = outcomes_of(calibration, case_id, views)
    return _Read(looked(np.stack([v.probs for v in views]), shape), losses)


def _check_soft(
    calibration: Calibration, found: Mapping[str, _Read], allow_hard_masks: bool
) -> None:
    definition = calibration.definition
    check_not_masks(
        [
            (case_id, region.name, kind_of_values(*content))
            for case_id, read in found.items()
            for region, content in zip(
                definition.regions, read.looked.contents, strict=True
            )
        ],
        allow=allow_hard_masks or definition.allow_hard_masks,
    )


def _remember(
    calibration: Calibration,
    memory: Memory,
    chosen: _Chosen,
    unit_of: Mapping[str, str],
    found: Mapping[str, _Read],
) -> set[str]:
    """Append what is new; returns cases whose map calibrated or was seen before."""
    copies: set[str] = set()
    owner = {entry["map"]: entry["unit"] for entry in memory.maps if entry["map"]}
    look = len(memory.looks) + 1
    for case_id in sorted(found):
        (unit,), (case,) = unit_digests([unit_of[case_id]]), unit_digests([case_id])
        mark = found[case_id].looked.contents[0].fingerprint
        digest = map_digest(mark) if mark else ""
        if calibration.seen.units_among([unit_of[case_id]], [case_id], [mark]) or (
            digest and owner.setdefault(digest, unit) != unit
        ):
            copies.add(case_id)
            continue
        about = {"look": look, "unit": unit, "case": case, "map": digest}
        if case_id in chosen.seen:
            values = _values(calibration, found[case_id].looked)
            memory.maps.append(about | {"values": values})
        if case_id in chosen.judged:
            memory.references.append(about | {"losses": found[case_id].losses})
    return copies


def _values(calibration: Calibration, read: Looked) -> dict[str, float]:
    """Features of every region of one map."""
    values: dict[str, float] = {}
    for k, region in enumerate(calibration.definition.regions):
        counts = read.counts[k : k + 1]
        features = map_features(counts[:, 0], counts[:, 1:])
        values |= {f"{region.name}.{n}": float(v[0]) for n, v in features.items()}
    return values
