"""What a score table holds: families of columns, each in a file of its own.

A family has `fields(definition)`, the columns it adds, and `columns(engine, batch,
definition)`, which computes them for a batch of views. It writes no engine switch: it
calls `engine.ops`, where kernels and host twins have the same names. A new statistic is
a new file and one line here.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from coverax.scores import bins, curves, extremes, fnr, lesions
from coverax.scores.batch import ViewBatch
from coverax.scores.definition import ScoreDefinition
from coverax.scores.engine import Engine


@runtime_checkable
class Family(Protocol):
    """A file of score statistics."""

    def fields(self, definition: ScoreDefinition) -> list[pa.Field]:
        """Columns the family adds to the table."""
        ...

    def columns(
        self, engine: Engine, batch: ViewBatch, definition: ScoreDefinition
    ) -> dict[str, np.ndarray]:
        """The columns of a batch, one entry a slot."""
        ...


FAMILIES: tuple[Family, ...] = (fnr, extremes, curves, bins, lesions)


def all_fields(definition: ScoreDefinition) -> list[pa.Field]:
    """Columns of every family."""
    return [field for family in FAMILIES for field in family.fields(definition)]


def all_columns(
    engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, Any]:
    """Every family's columns of one batch."""
    out: dict[str, Any] = {}
    for family in FAMILIES:
        out |= family.columns(engine, batch, definition)
    return out
