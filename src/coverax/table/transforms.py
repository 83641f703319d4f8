"""Transforms of a map, by name: what inner and outer scores are taken of.

A transform is written `NAME[:KEY=VALUE,...]` and, for one side of a set, `inner=...` or
`outer=...`. The text in its canonical form is its identity: it names the column of the
score table and travels in the calibration, so that prediction rebuilds exactly it.
"""

from dataclasses import dataclass

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
        unit: Of its values: `mm`, or empty.
    """

    keys: tuple[str, ...]
    sentence: str
    spatial: bool = True
    unit: str = ""


KINDS = {
    "identity": Kind((), "the probability", spatial=False),
    "logit": Kind((), "its log-odds", spatial=False),
    "smooth": Kind(("fwhm",), "the map smoothed by a Gaussian of fwhm mm"),
    "max_smooth": Kind(("fwhm",), "the larger of the map and its smoothed self"),
    "distance": Kind(("cut",), "mm to the other side of {p >= cut}", unit="mm"),
    "surface": Kind(("cut",), "mm to the interpolated surface p = cut", unit="mm"),
    "relative_distance": Kind(
        ("cut",), "distance over the cube root (2-D: square root) of the size"
    ),
    "boxes": Kind(("cut",), "chessboard mm to boxes of components", unit="mm"),
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


def set_transforms(inner: str, outer: str) -> tuple[Transform, Transform]:
    """The two transforms of a calibration of sets, inner first."""
    return parse_transform(f"inner={inner}"), parse_transform(f"outer={outer}")


def parse_transforms(texts: list[str]) -> tuple[Transform, ...]:
    """Parse several, without repeats, sorted by their text."""
    return tuple(sorted({parse_transform(text) for text in texts}, key=str))
