"""What a score means: everything that must agree between score and predict."""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from coverax.choices import Neighbours
from coverax.engine.bins import bin_edges
from coverax.files import check_fields
from coverax.rational import MAX_DENOMINATOR, Level, as_fraction, check_tolerance
from coverax.table.region import FOREGROUND, Region, parse_regions
from coverax.table.transforms import Transform, parse_transforms

DEFAULT_BINS = 20
# Parts that the first files of this schema lack; without them nothing was allowed.
_LATER = {
    "allow_hard_masks": False,
    "allow_duplicates": False,
    "mask_lesions": False,
    "n_soft_bins": 0,
    "mass": False,
}


@dataclass(frozen=True, slots=True)
class MapKind:
    """What the maps of a cohort look like.

    Attributes:
        n_channels: Length of the class axis; 0 for maps without one.
        storages: How values are quantised on disk, all kinds met, sorted.
        mark: Which of our steps made them, as their headers say; empty for maps from
            elsewhere, None where a table was written before marks were kept, or is of
            several folds.
        fold_marks: Of several folds: name and mark of each.
    """

    n_channels: int
    storages: tuple[str, ...]
    mark: str | None = None
    fold_marks: tuple[tuple[str, str], ...] = ()

    def of_fold(self, fold: str) -> "MapKind":
        """What the maps of one fold look like."""
        return replace(self, mark=dict(self.fold_marks).get(fold), fold_marks=())


@dataclass(frozen=True, slots=True)
class ScoreDefinition:
    """How scores come from files.

    Attributes:
        regions: Structures, each with its channel and reference labels.
        tolerances: Tolerated false-negative rates of one case.
        logits: Maps hold logits.
        ignore_label: Reference label whose voxels do not count.
        allow_overshoot: Values up to 1e-3 outside [0, 1] were accepted.
        map_kind: What the maps looked like; None before they were read.
        n_bins: Bins of the calibration statistics; 0 for none.
        n_soft_bins: Soft bins beside them; 0 for none.
        grid: Whether voxel counts at the fixed grid of cuts are kept, for loss curves.
        softmax: The maps are a softmax: channel 0 is the background and the first
            regions are the other channels, in order; further ones may join them.
        transforms: Transforms whose inner or outer scores are kept.
        set_sizes: Whether the sizes of their sets are kept too, for `learn-sets`.
        engine: Which engine computed what it could have rounded otherwise (distances,
            smoothing); None where every engine gives the same bits.
        lesions: How voxels of one lesion connect; None where lesions are not counted.
        band_edges_mm: Signed distances to the surface of the reference, positive inside,
            between which bins are kept apart; none for no bands.
        allow_hard_masks: Maps that hold 0 and 1 alone were accepted.
        allow_duplicates: One map under several names was accepted.
        mask_lesions: Whether components of masks are counted at every cut, and which of
            them touch no reference.
        mass: Whether mass scores are kept beside the critical probabilities.

    Raises:
        ValueError: The label to ignore belongs to a region, a softmax has not one region
            a channel, band edges do not ascend, band edges or soft bins have no bins, or
            there are too many of these, or components of masks are asked for and not
            how voxels connect.
    """

    regions: tuple[Region, ...] = (FOREGROUND,)
    tolerances: tuple[float, ...] = (0.1,)
    logits: bool = False
    ignore_label: int | None = None
    allow_overshoot: bool = False
    map_kind: MapKind | None = None
    n_bins: int = DEFAULT_BINS
    grid: bool = True
    softmax: bool = False
    transforms: tuple[Transform, ...] = ()
    set_sizes: bool = False
    engine: str | None = None
    lesions: Neighbours | None = None
    band_edges_mm: tuple[float, ...] = ()
    allow_hard_masks: bool = False
    allow_duplicates: bool = False
    mask_lesions: bool = False
    n_soft_bins: int = 0
    mass: bool = False

    def __post_init__(self):
        edges = self.band_edges_mm
        if list(edges) != sorted(set(edges)) or not all(map(math.isfinite, edges)):
            raise ValueError(
                f"band edges must be finite and ascending, got {', '.join(map(str, edges))}"
            )
        for n_bins in filter(None, (self.n_bins, self.n_soft_bins)):
            bin_edges(n_bins)
        if self.n_soft_bins and not self.n_bins:
            raise ValueError("soft bins stand beside bins, got 0 bins")
        if edges and not self.n_bins:
            raise ValueError("distance bands need bins, got 0 bins")
        if self.mask_lesions and self.lesions is None:
            raise ValueError(
                "lesions of masks need --lesions: which voxels are of one lesion"
            )
        for region in self.regions:
            if self.ignore_label in region.labels:
                raise ValueError(
                    f"label {self.ignore_label} is to be ignored, but belongs to region "
                    f"{region.name}"
                )
        if self.softmax:
            self._check_softmax()

    def _check_softmax(self) -> None:
        """Classes in order; a joined region has the labels of its classes."""
        classes = self.classes
        channels = [region.channels for region in classes]
        in_order = channels == [(k + 1,) for k in range(len(channels))]
        if not in_order or classes != self.regions[: len(classes)]:
            raise ValueError(
                "the regions of a softmax are its channels 1, 2, ... in order (regions "
                f"that join them last), got {', '.join(map(str, self.regions))}"
            )
        if not all(region.labels for region in self.regions):
            raise ValueError("the regions of a softmax name their labels, not any")
        own = {region.channels[0]: set(region.labels) for region in classes}
        for region in self.regions[len(classes) :]:
            labels = set[int]().union(*(own.get(c, set()) for c in region.channels))
            if set(region.channels) - own.keys() or labels != set(region.labels):
                raise ValueError(
                    f"region {region} joins classes of a softmax whose labels are "
                    f"{', '.join(map(str, sorted(labels))) or 'not named'}"
                )

    @property
    def is_spatial(self) -> bool:
        """Whether a transform looks at neighbours."""
        return any(transform.kind.spatial for transform in self.transforms)

    @property
    def needs_whole_maps(self) -> bool:
        """Whether voxels that a reference declares void are looked at too."""
        return self.is_spatial or self.mass

    @property
    def needs_mm(self) -> bool:
        """Whether distances in millimetres are computed."""
        return self.is_spatial or bool(self.band_edges_mm)

    @property
    def classes(self) -> tuple[Region, ...]:
        """Regions that are one class of a softmax; the others join several."""
        return tuple(r for r in self.regions if len(r.channels) == 1)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels to read, ascending; all of a softmax."""
        background: set[int] = {0} if self.softmax else set()
        return tuple(
            sorted(background.union(*(region.channels for region in self.regions)))
        )

    def to_json(self) -> dict[str, Any]:
        """A plain object for metadata."""
        plain: dict[str, Any] = asdict(self) | {
            "regions": [str(region) for region in self.regions],
            "transforms": [str(transform) for transform in self.transforms],
        }
        if self.map_kind and not self.map_kind.fold_marks:
            del plain["map_kind"]["fold_marks"]
        for name in ("n_soft_bins", "mass"):
            if not plain[name]:  # the first tables knew none
                del plain[name]
        return json.loads(json.dumps(plain))

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ScoreDefinition":
        """Inverse of `to_json`.

        Raises:
            ValueError: A part is missing: another version wrote it.
        """
        try:
            return cls._from_json(content)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(
                f"not a sound score definition ({type(error).__name__}: {error!s:.80})"
            ) from None

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> "ScoreDefinition":
        missing = cls.__dataclass_fields__.keys() - content.keys() - _LATER.keys()
        if missing:
            raise ValueError(
                f"the score definition lacks {', '.join(sorted(missing))}: it was "
                "written by another version; run `coverax score` again"
            )
        kind = content["map_kind"]
        found = cls(
            regions=parse_regions(content["regions"]),
            tolerances=tuple(content["tolerances"]),
            logits=content["logits"],
            ignore_label=content["ignore_label"],
            allow_overshoot=content["allow_overshoot"],
            n_bins=content["n_bins"],
            grid=content["grid"],
            softmax=content["softmax"],
            map_kind=kind
            and MapKind(
                kind["n_channels"],
                tuple(kind["storages"]),
                kind.get("mark"),
                tuple((fold, mark) for fold, mark in kind.get("fold_marks", ())),
            ),
            transforms=parse_transforms(content["transforms"]),
            set_sizes=content["set_sizes"],
            engine=content["engine"],
            lesions=content["lesions"],
            band_edges_mm=tuple(content["band_edges_mm"]),
            **{name: content.get(name, none) for name, none in _LATER.items()},
        )
        check_fields(found)
        return found

    def with_engine(self, name: str) -> "ScoreDefinition":
        """The same definition, computed by this engine where that can matter."""
        return replace(self, engine=name if self.is_spatial else None)

    def with_kind(self, kind: MapKind) -> "ScoreDefinition":
        """The same definition, for maps of this kind."""
        return replace(self, map_kind=kind)


def sorted_tolerances(tolerances: list[Level]) -> tuple[float, ...]:
    """Tolerances checked, without repeats, ascending."""
    exact = {check_tolerance(t): t for t in tolerances}
    for fraction, written in exact.items():
        if as_fraction(float(fraction)) != fraction:
            raise ValueError(
                f"tolerance {written} is no decimal, and columns are named by decimals "
                f"(of a denominator of at most {MAX_DENOMINATOR}): choose one near it, "
                f"as {float(fraction):.4f}"
            )
    return tuple(float(t) for t in sorted(exact))
