"""Transforms of a map, by name: what inner and outer scores are taken of.

A transform is written `NAME[:KEY=VALUE,...]` and, for one side of a set, `inner=...` or
`outer=...`. The text in its canonical form is its identity: it names the column of the
score table and travels in the calibration, so that prediction rebuilds exactly it.
"""

import bisect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from coverax.choices import Side
from coverax.rational import as_fraction, check_tolerance

SIDES: tuple[Side, ...] = ("inner", "outer")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a family of transforms takes.

    Attributes:
        keys: Names of its parameters.
        sentence: What it is, for people.
        spatial: Neighbours matter, so it needs shape and spacing.
        unit: Unit of its values: `mm`, or empty.
        whole_at: Least outer threshold at which the set is the whole volume of any map:
            0 for values that are probabilities; log-odds and distances have no end.
        step: Scale of the cuts at which set sizes are kept, in units of its values; None
            for a map of probabilities.
        is_log_odds: Scores and thresholds are log-odds of its map.
    """

    keys: tuple[str, ...]
    sentence: str
    spatial: bool = True
    unit: str = ""
    whole_at: float = math.inf
    step: float | None = None
    is_log_odds: bool = False


KINDS = {
    "identity": Kind((), "the probability", spatial=False, whole_at=0.0),
    "logit": Kind((), "its log-odds", spatial=False, is_log_odds=True),
    "smooth": Kind(
        ("fwhm",), "the map smoothed by a Gaussian of fwhm mm", whole_at=0.0
    ),
    "max_smooth": Kind(
        ("fwhm",), "the larger of the map and its smoothed self", whole_at=0.0
    ),
    "distance": Kind(
        ("cut",), "mm to the other side of {p >= cut}", unit="mm", step=0.5
    ),
    "surface": Kind(
        ("cut",), "mm to the interpolated surface p = cut", unit="mm", step=0.5
    ),
    "relative_distance": Kind(
        ("cut",),
        "distance over the cube root (2-D: square root) of the size",
        step=0.05,
    ),
    "boxes": Kind(
        ("cut",), "chessboard mm to boxes of components", unit="mm", step=0.5
    ),
}
_DEFAULTS = {"cut": 0.5, "fwhm": 4.0, "tolerance": 0.0}


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform for one side of a confidence set.

    Attributes:
        side: `inner` or `outer`.
        name: A key of `KINDS`.
        cut: Cut of the predicted mask, for transforms of the mask.
        fwhm_mm: Width of the Gaussian, for smoothing.
        tolerance: Share of the reference that may be wrong on this side.
    """

    side: Side
    name: str
    cut: float = _DEFAULTS["cut"]
    fwhm_mm: float = _DEFAULTS["fwhm"]
    tolerance: float = _DEFAULTS["tolerance"]

    @property
    def kind(self) -> Kind:
        """What its family takes."""
        return KINDS[self.name]

    @property
    def map_spec(self) -> str:
        """The score map, without side and tolerance: equal maps are computed once."""
        value = {"cut": self.cut, "fwhm": self.fwhm_mm}
        options = ",".join(f"{key}={value[key]!r}" for key in self.kind.keys)
        return f"{self.name}:{options}" if options else self.name

    @property
    def map_name(self) -> str | None:
        """Name of the score map of this side; None where it is the map itself.

        `logit` is monotone and acts on scores and thresholds: its map is the identity's.
        """
        return f"{self.side}={self.map_spec}" if self.kind.spatial else None

    @property
    def spec(self) -> str:
        """The transform without its side, canonical."""
        if not self.tolerance:
            return self.map_spec
        joint = "," if self.kind.keys else ":"
        return f"{self.map_spec}{joint}tolerance={self.tolerance!r}"

    def __str__(self) -> str:
        return f"{self.side}={self.spec}"


def parse_transform(text: str) -> Transform:
    """Parse `inner=NAME[:KEY=VALUE,...]` or `outer=...`.

    Raises:
        ValueError: The side, the name or a key is unknown, or a value is no number in
            its range.
    """
    side, _, spec = text.partition("=")
    if side not in SIDES or not spec:
        raise ValueError(
            f"expected inner=NAME[:KEY=VALUE,...] or outer=..., got {text!r}"
        )
    name, _, options = spec.partition(":")
    if name not in KINDS:
        raise ValueError(f"transform {name!r} is unknown; known are {', '.join(KINDS)}")
    values = dict(_DEFAULTS)
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key not in (*KINDS[name].keys, "tolerance"):
            takes = ", ".join((*KINDS[name].keys, "tolerance"))
            raise ValueError(f"transform {name} takes {takes}, not {key!r}")
        values[key] = float(as_fraction(value))
    check_tolerance(values["tolerance"])
    if not 0 < values["cut"] < 1:
        raise ValueError(f"cut must lie in (0, 1), got {values['cut']}")
    if not values["fwhm"] > 0:
        raise ValueError(f"fwhm must be a length in mm > 0, got {values['fwhm']}")
    return Transform(side, name, values["cut"], values["fwhm"], values["tolerance"])


def side_transforms(inner: str, outer: str) -> tuple[Transform, Transform]:
    """The two transforms of a calibration of sets, inner first."""
    return parse_transform(f"inner={inner}"), parse_transform(f"outer={outer}")


def parse_transforms(texts: list[str]) -> tuple[Transform, ...]:
    """Parse several, without repeats, sorted by their text."""
    return tuple(sorted({parse_transform(text) for text in texts}, key=str))


def on_scale(transform: Transform, score: Any) -> Float[np.ndarray, " cases"]:
    """Scores of a map in float64, as log-odds where that is the transform."""
    score = np.asarray(score).astype(np.float64)
    if not transform.kind.is_log_odds:
        return score
    sign = 1 if transform.side == "inner" else -1
    return np.array([sign * _logit(sign * value) for value in score.tolist()])


def on_map(transform: Transform, cut: float) -> float:
    """A cut of the score as a cut of the map that it was taken of, not yet rounded."""
    return 1 / (1 + np.exp(-cut)) if transform.kind.is_log_odds else cut


def side_cut(transform: Transform, threshold: float) -> np.float32:
    """The float32 cut of the score map whose `{map >= cut}` is the set at a threshold.

    The inner set is `{map > threshold}`, the outer one `{map >= -threshold}`. Maps are
    float32 and thresholds float64, so the cut is rounded up, never to the nearest; NaN,
    which no voxel reaches, is the empty inner set of an infinite threshold.
    """
    inner = transform.side == "inner"
    level = threshold if inner else -threshold
    if inner and level == math.inf:
        return np.float32(np.nan)
    if transform.kind.is_log_odds:
        return _probability_cut(level, strict=inner)
    with np.errstate(over="ignore"):
        cut = np.float32(level)
    # As Python floats: NumPy would round the level to float32 before it compares.
    if float(cut) < level or (inner and float(cut) == level):
        cut = np.nextafter(cut, np.float32(np.inf))
    return cut


def _logit(p: float) -> float:
    """Log-odds; scalar arithmetic, so that the same p always gives the same bits."""
    if p <= 0:
        return -math.inf
    return math.inf if p >= 1 else math.log(p) - math.log1p(-p)


def _probability_cut(level: float, *, strict: bool) -> np.float32:
    """Smallest float32 probability whose log-odds reach (or, strict, exceed) a level."""
    if level == -math.inf and not strict:
        return np.float32(-np.inf)
    # Bit patterns of non-negative floats are ordered as the floats are.
    n_patterns = int(np.float32(1).view(np.int32)) + 1

    def log_odds(pattern: int) -> float:
        return _logit(float(np.int32(pattern).view(np.float32)))

    find = bisect.bisect_right if strict else bisect.bisect_left
    pattern = find(range(n_patterns), level, key=log_odds)
    if pattern == n_patterns:
        return np.float32(np.nan)
    return np.int32(pattern).view(np.float32)
