"""What a score table holds: families of columns, each in a file of its own.

A family has `asks(definition)`, options of `score_batch`, the one program that computes
everything asked of a batch; and `columns(batch, definition)`, which turns its results
into the columns that `table/columns.py` names. It writes no engine switch. A new
statistic is a new file, one line here, and its columns there.
"""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from coverax.engine.switch import Engine
from coverax.scores import bands, bins, curves, extremes, fnr, lesions
from coverax.scores.batch import ViewBatch
from coverax.scores.maps import MapsOf, geometry
from coverax.table.definition import ScoreDefinition
from coverax.table.transforms import Transform


@runtime_checkable
class Family(Protocol):
    """A file of score statistics."""

    def asks(self, definition: ScoreDefinition, /) -> dict[str, Any]:
        """Options of `score_batch`, each the affair of one family."""
        ...

    def columns(
        self, batch: ViewBatch, definition: ScoreDefinition, /
    ) -> dict[str, np.ndarray]:
        """The columns of a batch, one entry a slot."""
        ...


FAMILIES: tuple[Family, ...] = (fnr, extremes, curves, bins, bands, lesions)


def all_columns(
    engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, Any]:
    """Every family's columns of one batch."""
    scored = batch._replace(results=score_views(engine, batch, definition))
    out: dict[str, Any] = {}
    for family in FAMILIES:
        out |= family.columns(scored, definition)
    return out


def score_views(engine: Engine, batch: ViewBatch, definition: ScoreDefinition) -> Any:
    """Run the one program over a batch: everything that its definition asks for."""
    options: dict[str, Any] = {}
    for family in FAMILIES:
        options |= family.asks(definition)
    arrays = batch[:3]
    maps_fn = MapsOf.spatial(engine, definition.transforms)
    if maps_fn is not None:
        space = geometry(batch, definition.transforms)
        options |= {
            "maps_fn": maps_fn,
            "spacing_mm": space.spacing_mm,
            "given": space.given,
        }
        if space.shapes is not None:
            options["shapes"] = space.shapes
        arrays = [a if a is None else a.reshape(-1, *space.axes) for a in arrays]
    probs, labels, valid = arrays
    return engine.ops.score_batch(probs, labels, valid=valid, **options)


def score_maps(
    engine: Engine,
    batch: ViewBatch,
    definition: ScoreDefinition,
    transforms: Iterable[Transform],
) -> dict[tuple[str, str], np.ndarray]:
    """Score maps of some transforms, by side and map spec, `[batch, voxels]`.

    On the device the program of scoring makes them, so that a map has the same bits
    whenever it is looked at: another program would be fused, and rounded, otherwise.

    Raises:
        ValueError: A transform is not of the definition, or needs a grid and a view has
            none.
    """
    chosen = tuple(transforms)
    unknown = [str(t) for t in chosen if t not in definition.transforms]
    if unknown:
        raise ValueError(f"maps were not scored with {', '.join(unknown)}")
    maps_fn = MapsOf.spatial(engine, chosen)
    if maps_fn is None:
        made: dict[str, Any] = {}
    elif engine.is_device:
        made = score_views(engine, batch, definition).maps
    else:
        space = geometry(batch, chosen)
        volumes = batch.probs.reshape(-1, *space.axes)
        made = maps_fn(volumes, space.spacing_mm, None, space.given)
    out = {}
    for transform in chosen:
        name = transform.map_name
        values = batch.probs if name is None else np.asarray(made[name])
        out[transform.side, transform.map_spec] = values.reshape(batch.probs.shape)
    return out
