"""Regions: which channels of the map belong to which labels of the reference."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """One structure to be scored: channels of the map and its reference labels.

    Attributes:
        name: Short name, used in tables and file names.
        channels: Entries of the class axis of the map; `(0,)` for a map without one.
            Several are classes that exclude each other: their probabilities add up.
        labels: Reference labels that count as foreground; none for any above 0.
    """

    name: str
    channels: tuple[int, ...]
    labels: tuple[int, ...]

    def __str__(self) -> str:
        channels = "+".join(map(str, self.channels))
        return f"{self.name}={channels}:{self.label_spec}"

    @property
    def label_spec(self) -> str:
        """The labels in order, as a spec has them: `1,3`, or `any`."""
        return ",".join(map(str, sorted(self.labels))) or _ANY


FOREGROUND = Region("foreground", (0,), (1,))
_ANY = "any"
_SPEC = re.compile(rf"([\w.-]+)=(\d+(?:\+\d+)*):({_ANY}|\d+(?:,\d+)*)")


def parse_region(spec: str) -> Region:
    """Parse `NAME=CHANNEL[+CHANNEL]:LABEL[,LABEL]`, or `...:any` for labels above 0.

    Raises:
        ValueError: The text has another form, names the background, or a channel twice.
    """
    match = _SPEC.fullmatch(spec)
    if not match:
        raise ValueError(
            "expected NAME=CHANNEL[+CHANNEL]:LABEL[,LABEL] (any for all labels above "
            f"0), got {spec!r}"
        )
    named = [] if match[3] == _ANY else match[3].split(",")
    labels = tuple(sorted({int(label) for label in named}))
    if 0 in labels:
        raise ValueError(f"label 0 is the background, no region, got {spec!r}")
    channels = tuple(sorted({int(channel) for channel in match[2].split("+")}))
    if len(channels) <= match[2].count("+"):
        raise ValueError(f"a channel counts once in a region, got {spec!r}")
    return Region(match[1], channels, labels)


def parse_regions(specs: list[str]) -> tuple[Region, ...]:
    """Parse several specs; names must differ. None given means one foreground."""
    regions = tuple(parse_region(spec) for spec in specs) or (FOREGROUND,)
    names = [region.name for region in regions]
    if len(set(names)) < len(names):
        raise ValueError(f"region names must differ, got {', '.join(names)}")
    return regions
