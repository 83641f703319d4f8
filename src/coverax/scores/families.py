"""What a score table holds: families of columns, each in a file of its own.

A family has `asks(definition)`, fields of the `ScorePlan` of the one program that
computes everything asked of a batch; and `columns(scored, definition)`, which turns
results and views into columns. It writes no engine switch. The plan is made once for a
definition. A new statistic is a new file, and one line here; `table/columns.py` names
what other rooms read.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import numpy as np

from coverax.engine.plan import ScorePlan
from coverax.engine.results import BatchScores
from coverax.engine.switch import Engine
from coverax.scores import bands, bins, curves, extremes, fnr, lesions, soft
from coverax.scores.batch import Scored, ViewBatch
from coverax.scores.maps import MapsOf, geometry
from coverax.table.definition import ScoreDefinition
from coverax.table.transforms import Transform


@runtime_checkable
class Family(Protocol):
    """A file of score statistics."""

    def asks(self, definition: ScoreDefinition, /) -> dict[str, Any]:
        """Fields of the plan, each the affair of one family."""
        ...

    def columns(
        self, scored: Scored, definition: ScoreDefinition, /
    ) -> dict[str, np.ndarray]:
        """The columns of a batch, one entry a slot."""
        ...


FAMILIES: tuple[Family, ...] = (fnr, extremes, curves, bins, soft, bands, lesions)


def all_columns(
    engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, Any]:
    """Every family's columns of one batch."""
    scored = Scored(score_views(engine, batch, definition), batch.views)
    out: dict[str, Any] = {}
    for family in FAMILIES:
        out |= family.columns(scored, definition)
    return out


def count_columns(
    engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, Any]:
    """Counts at the grid of cuts and sums of bins alone, as a table of this has them."""
    lean = replace(
        definition,
        tolerances=(),
        transforms=(),
        set_sizes=False,
        n_soft_bins=0,
        lesions=None,
        mask_lesions=False,
        mass=False,
        band_edges_mm=(),
    )
    return all_columns(engine, batch, lean)


_MAKING = Lock()


def plan_of(engine: Engine, definition: ScoreDefinition) -> ScorePlan:
    """What a definition asks of every batch; made once, however many there are."""
    with _MAKING:  # threads that all meet a first batch wait for one plan
        return made_plan(engine, definition)


@lru_cache(maxsize=8)
def made_plan(engine: Engine, definition: ScoreDefinition) -> ScorePlan:
    """`plan_of`, for one thread at a time."""
    asked: dict[str, Any] = {}
    for family in FAMILIES:
        asked |= family.asks(definition)
    return ScorePlan(**asked, maps_fn=MapsOf.spatial(engine, definition.transforms))


def score_views(
    engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> BatchScores:
    """Run the one program over a batch: everything that its definition asks for."""
    plan = plan_of(engine, definition)
    arrays, places = (batch.probs, batch.labels, batch.valid), {}
    if plan.maps_fn is not None:
        space = geometry(batch, definition.transforms)
        places = {"spacing_mm": space.spacing_mm, "given": space.given}
        if space.shapes is not None:
            places["shapes"] = space.shapes
        arrays = [a if a is None else a.reshape(-1, *space.axes) for a in arrays]
    probs, labels, valid = (batch.place(engine, a) for a in arrays)
    return engine.ops.run_plan(probs, labels, plan, valid=valid, **places)


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
