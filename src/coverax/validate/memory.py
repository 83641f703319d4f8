"""What a monitor remembers: every new unit once, in order, and each look at them."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from coverax._version import __version__
from coverax.calibrate import Calibration
from coverax.files import (
    Json,
    PathLike,
    check_fields,
    digest_json,
    publish_sealed_json,
    read_sealed_json,
    sound,
)
from coverax.rational import Level, as_fraction, check_level
from coverax.validate.capital import map_capital
from coverax.validate.promise import promise_capital, watched_promises
from coverax.validate.results import Capital

SCHEMA = 1
DEFAULT_LEVEL = "0.01"


@dataclass
class Memory:
    """The content of a state file; lists only grow.

    Attributes:
        calibration_digest: Of the calibration that is watched.
        level: Tolerated probability of a false alarm, ever; a decimal.
        seed: Of the numbers that break ties.
        with_references: Whether references are bet on too, with half of the capital.
        maps: One entry a unit whose map was seen: digests and features.
        references: One entry a unit whose reference was seen: digests and losses.
        looks: One entry a look that saw something new.
        digest: Of the file it was read from; empty for a new one.
    """

    calibration_digest: str
    level: str
    seed: int
    with_references: bool
    maps: list[Json] = field(default_factory=list[Json])
    references: list[Json] = field(default_factory=list[Json])
    looks: list[Json] = field(default_factory=list[Json])
    digest: str = ""

    def known(self, what: str, entries: list[Json]) -> set[str]:
        """Digests of one kind among entries."""
        return {str(entry[what]) for entry in entries}

    @property
    def limit(self) -> Fraction:
        """The capital that is an alarm."""
        return 1 / as_fraction(self.level)


def read_memory(path: PathLike) -> Memory:
    """Read a state file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is something else, of another version, or altered.
    """
    path = Path(path)
    content, digest = read_sealed_json(path, "monitor state", SCHEMA, "monitor")
    with sound(path, "monitor state"):
        names = Memory.__dataclass_fields__.keys() - {"digest"}
        found = Memory(**{name: content[name] for name in names}, digest=digest)
        check_fields(found)
        check_level("level", found.level)
        for entry in (*found.maps, *found.references):
            _check_entry(
                entry, entry["values"] if "values" in entry else entry["losses"]
            )
        if any(not isinstance(look, dict) for look in found.looks):
            raise TypeError("a look is no object")
        return found


def _check_entry(entry: Json, numbers: Json) -> None:
    """Refuse an entry without its digests, or with numbers that are none.

    Raises:
        TypeError: It is such.
    """
    named = all(isinstance(entry[name], str) for name in ("unit", "case", "map"))
    known = [v for v in numbers.values() if isinstance(v, float) and math.isfinite(v)]
    if not named or len(known) != len(numbers):
        raise TypeError(f"an entry is {entry!r:.40}")


def open_memory(
    path: Path,
    calibration: Calibration,
    *,
    level: Level | None,
    seed: int | None,
    with_references: bool,
) -> Memory:
    """The state of a calibration: as it was left, or a new one.

    Raises:
        ValueError: It is of another calibration, level or seed, or began without
            references, or is no sound state.
    """
    if not path.exists():
        chosen = DEFAULT_LEVEL if level is None else level
        check_level("level", chosen)
        return Memory(calibration.digest, str(chosen), seed or 0, with_references)
    memory = read_memory(path)
    asked = {
        "another calibration": memory.calibration_digest != calibration.digest,
        f"level {memory.level}": level is not None
        and as_fraction(level) != as_fraction(memory.level),
        f"seed {memory.seed}": seed is not None and seed != memory.seed,
        "maps alone, without references": with_references
        and not memory.with_references,
    }
    for what, is_other in asked.items():
        if is_other:
            raise ValueError(
                f"{path} is the state of a monitor of {what}: what was fixed before "
                "looking stays; begin another state file"
            )
    return memory


def capitals(
    calibration: Calibration, reference: Json, memory: Memory
) -> dict[str, np.ndarray]:
    """Every capital after each unit, times the share of the first stake that it got.

    That any of them ever reaches `1 / level` has probability at most `level`: the sum,
    over capitals, of share times level. They are not averaged at a time: each is a
    martingale in what it looks at itself, and nothing makes their mean one in what all
    of them look at.
    """
    half = Fraction(1, 2) if memory.with_references else Fraction(1)
    features = [
        (region, name)
        for region, known in reference.items()
        for name in sorted(known.keys() - {"histogram"})
    ]
    found: dict[str, np.ndarray] = {}
    for region, name in features:
        key = f"{region}.{name}"
        values = [entry["values"][key] for entry in memory.maps]
        path = map_capital(reference[region][name], values, name=key, seed=memory.seed)
        found[f"maps.{key}"] = path * float(half / len(features))
    promises = watched_promises(calibration) if memory.with_references else []
    for promise in promises:
        losses = [
            entry["losses"][promise.name]
            for entry in memory.references
            if promise.name in entry["losses"]
        ]
        path = promise_capital(calibration, promise, losses)
        found[f"references.{promise.name}"] = path * float(half / len(promises))
    return found


def summary(memory: Memory, found: dict[str, np.ndarray]) -> Capital:
    """One number, whether it is an alarm, and which capital made it."""
    now = {name: float(path[-1]) if path.size else 0.0 for name, path in found.items()}
    ever = {name: float(path.max(initial=0.0)) for name, path in found.items()}
    worst = max(ever, key=lambda name: ever[name])
    return Capital(
        n_maps=len(memory.maps),
        n_references=len(memory.references),
        capital=max(now.values()),
        largest=ever[worst],
        largest_of=worst,
        alarm_at=float(memory.limit),
        # Once reached it stays: whenever one looks, or does not.
        alarm=Fraction(ever[worst]) >= memory.limit,
        capitals=now,
    )


def write_memory(path: Path, memory: Memory, look: Capital) -> None:
    """Append a look and write the state, whole or not at all."""
    entry = {
        "look": len(memory.looks) + 1,
        "n_maps": look.n_maps,
        "n_references": look.n_references,
        "capital": look.capital,
        "largest": look.largest,
        "alarm": look.alarm,
    }
    memory.looks.append(entry | {"previous": memory.digest})
    content: dict[str, Any] = {
        name: getattr(memory, name)
        for name in Memory.__dataclass_fields__
        if name != "digest"
    }
    content = {"schema": SCHEMA, "coverax": __version__, "what": "monitor", **content}
    publish_sealed_json(path, content)
    memory.digest = digest_json(content)
