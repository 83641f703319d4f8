"""A fitted temperature: what `temperature.json` holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from coverax._version import __version__
from coverax.choices import Form
from coverax.files import (
    MAYBE,
    Json,
    JsonRecord,
    PathLike,
    check_fields,
    digest_json,
    publish_json,
    read_sealed_json,
    sound,
)
from coverax.reliability.affine import AffineFit
from coverax.reliability.ordered import OrderedFit
from coverax.reliability.temperature import TemperatureFit
from coverax.volumes import Region, parse_regions

SCHEMA = 2
KIND = "temperature"  # what a folder of scaled maps depends on
SOFTMAX = "softmax"  # the name of the fit of all classes
Fit = TemperatureFit | OrderedFit | AffineFit
_FIT_OF_FORM: dict[str, type[Fit]] = {
    "temperature": TemperatureFit,
    "order-preserving": OrderedFit,
    "vector": AffineFit,
    "matrix": AffineFit,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature(JsonRecord):
    """Temperatures of a cohort: the content of `temperature.json`.

    Attributes:
        schema: Of the file.
        coverax: Version that fitted it.
        softmax: One of all classes, named `softmax`; else one a region.
        by_class: Of a softmax, one for the voxels that each class wins, named
            `softmax:CLASS`; None where there is one for all.
        form: `vector` or `matrix` where a fit is an affine map, `order-preserving` where
            it scales gaps; None for temperatures.
        regions: As text, `NAME=CHANNEL:LABEL`.
        logits: The maps are logits.
        allow_overshoot: The maps may lie a little outside [0, 1].
        ignore_label: Label of voxels left out.
        fits: Name to fit.
        n_cases: Cases it was fitted on.
        case_ids: Their ids.
        cases_digest: SHA-256 of these.
        units: Their units.
        map_digests: Fingerprints of their maps; the first files have none.
        voxels_per_case: Most voxels of a case that were used.
        seed: Of the sampling.
        digest: Of the file.
    """

    schema: int = SCHEMA
    coverax: str = __version__
    softmax: bool
    by_class: bool | None = field(default=None, metadata=MAYBE)
    form: Form | None = field(default=None, metadata=MAYBE)
    regions: Sequence[str]
    logits: bool
    allow_overshoot: bool
    ignore_label: int | None
    fits: Mapping[str, Fit]
    n_cases: int
    case_ids: Sequence[str]
    cases_digest: str
    units: Sequence[str]
    map_digests: Sequence[str] | None = field(default=None, metadata=MAYBE)
    voxels_per_case: int
    seed: int
    digest: str = ""

    @classmethod
    def from_json(cls, content: Json) -> "Temperature":
        """Inverse of `to_json`.

        Raises:
            LookupError, TypeError, ValueError: A part is missing or of another type, or
                a temperature could not be applied.
        """
        own = {f.name: content[f.name] for f in fields(cls) if f.name in content}
        kind = _FIT_OF_FORM[content.get("form", "temperature")]
        own["fits"] = {k: kind(**fit) for k, fit in content["fits"].items()}
        found = cls(**own)
        check_fields(found)
        for name in found.names:
            fit = found.fits[name]
            if isinstance(fit, AffineFit):
                check_weights(name, fit, len(found.channels))
            elif isinstance(fit, OrderedFit):
                check_factors(name, fit, len(found.channels))
            elif not 0 < fit.temperature < math.inf and fit.status == "OK":
                raise ValueError(f"the temperature of {name} must be a positive number")
        for name in ("case_ids", "units"):
            if not all(isinstance(value, str) for value in content[name]):
                raise TypeError(f"{name} must be names")
        return found

    @property
    def names(self) -> list[str]:
        """Names of the fits that it applies."""
        if self.by_class:
            return class_names(self.parsed_regions)
        return [SOFTMAX] if self.softmax else [r.name for r in self.parsed_regions]

    @property
    def temperatures(self) -> dict[str, float]:
        """Temperature of each fit that is one."""
        fits = self.fits
        found = {name: fits[name] for name in self.names if name in fits}
        return {
            name: fit.temperature
            for name, fit in found.items()
            if isinstance(fit, TemperatureFit)
        }

    @property
    def affine(self) -> np.ndarray:
        """Weights of the affine map, of each class where they are by class."""
        found = (self.fits[name] for name in self.names)
        each = [fit.weights for fit in found if isinstance(fit, AffineFit)]
        return np.array(each if self.by_class else each[0], np.float64)

    @property
    def factors(self) -> np.ndarray:
        """Factors of the gaps, of each class where they are by class."""
        found = (self.fits[name] for name in self.names)
        each = [fit.factors for fit in found if isinstance(fit, OrderedFit)]
        return np.array(each if self.by_class else each[0], np.float64)

    @property
    def parsed_regions(self) -> tuple[Region, ...]:
        """Its regions."""
        return parse_regions(list(self.regions))

    @property
    def channels(self) -> set[int]:
        """Channels that it changes; all of a softmax."""
        background = {0} if self.softmax else set[int]()
        return background.union(*(region.channels for region in self.parsed_regions))

    def check(self) -> None:
        """Raise where a temperature could not be found.

        Raises:
            ValueError: Any fit has another status than OK.
        """
        bad = {name: fit for name, fit in self.fits.items() if fit.status != "OK"}
        if bad:
            which = "; ".join(
                f"{name}: {fit.status} ({fit.temperature:g})"
                if isinstance(fit, TemperatureFit)
                else f"{name}: {fit.status}"
                for name, fit in bad.items()
            )
            sentences = dict.fromkeys(fit.sentence for fit in bad.values())
            what = self.form or "temperature"
            raise ValueError(f"no {what} for {which}. {' '.join(sentences)}")

    @property
    def meaning(self) -> str:
        """Digest of all that it says, for what was made with it."""
        return digest_json(self.to_json())

    def write(self, path: PathLike) -> None:
        """Write `temperature.json`; it appears complete or not at all."""
        publish_json(Path(path), self.to_json())


def check_weights(name: str, fit: AffineFit, n_classes: int) -> None:
    """Refuse weights that could not be applied.

    Raises:
        ValueError: They are not finite, or of another number of classes.
    """
    weights = np.asarray(fit.weights, np.float64)
    shape = (n_classes, n_classes + 1)
    if weights.shape != shape or not np.isfinite(weights).all():
        raise ValueError(f"the weights of {name} must be {shape} finite numbers")


def check_factors(name: str, fit: OrderedFit, n_classes: int) -> None:
    """Refuse factors that could not be applied.

    Raises:
        ValueError: They are not finite, negative, or of another number of classes.
    """
    factors = np.asarray(fit.factors, np.float64)
    known = np.isfinite(factors) & (factors >= 0)
    if factors.shape != (n_classes - 1,) or not known.all():
        raise ValueError(
            f"the factors of {name} must be {n_classes - 1} finite numbers from 0 on"
        )


def class_names(regions: Sequence[Region]) -> list[str]:
    """Names of the fits of the classes of a softmax, the background first."""
    return [f"{SOFTMAX}:{name}" for name in ("background", *(r.name for r in regions))]


def read_temperature(path: PathLike) -> Temperature:
    """Read `temperature.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else, of another schema, or was altered.
    """
    path = Path(path)
    content, digest = read_sealed_json(path, KIND, SCHEMA, "temperature fit")
    if "fits" not in content:  # another of our files
        raise ValueError(f"{path}: not a coverax temperature")
    with sound(path, KIND):
        return Temperature.from_json(content | {"digest": digest})


@dataclass(frozen=True, slots=True)
class Applied(JsonRecord):
    """What became of maps at a temperature.

    Attributes:
        n_cases: Cases written.
        fitted_on: Those that the temperature was fitted on, or whose units were.
        unchanged_channels: Channels that belong to no fitted region.
    """

    n_cases: int
    fitted_on: Sequence[str]
    unchanged_channels: Sequence[int]
