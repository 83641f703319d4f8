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
        labels: Reference labels that count as foreground.
    """

    name: str
    channels: tuple[int, ...]
    labels: tuple[int, ...]

    def __str__(self) -> str:
        channels = "+".join(map(str, self.channels))
        return f"{self.name}={channels}:{','.join(map(str, self.labels))}"


FOREGROUND = Region("foreground", (0,), (1,))
_SPEC = re.compile(r"([\w.-]+)=(\d+(?:\+\d+)*):(\d+(?:,\d+)*)")


def parse_region(spec: str) -> Region:
    """Parse `NAME=CHANNEL[+CHANNEL]:LABEL[,LABEL]`.

    Raises:
        ValueError: The text has another form, names the background, or a channel twice.
    """
    match = _SPEC.fullmatch(spec)
    if not match:
        raise ValueError(f"expected NAME=CHANNEL[+CHANNEL]:LABEL[,LABEL], got {spec!r}")
    labels = tuple(sorted({int(label) for label in match[3].split(",")}))
    if labels[0] == 0:
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
