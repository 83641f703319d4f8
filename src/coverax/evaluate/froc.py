"""FROC of an evaluation: of the maps themselves, whatever was calibrated."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from coverax.calibrate import froc_at, froc_of_rows, froc_rows
from coverax.calibrate.froc import COLUMNS
from coverax.evaluate.results import Evaluation, Rows
from coverax.scores import ScoreDefinition, ViewBatch, lesion_columns


def froc_columns(
    batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, np.ndarray]:
    """Lesions and components of each view, where scoring kept both (`--mask-lesions`)."""
    return lesion_columns(batch.views, definition) if definition.mask_lesions else {}


def set_apart(rows: Rows) -> tuple[Rows, Rows]:
    """The rows without their lesions and components, and those alone."""
    if not rows or COLUMNS[-1] not in rows[0]:
        return rows, []
    rest = [{k: v for k, v in row.items() if k not in COLUMNS} for row in rows]
    names = ("case_id", "region", *COLUMNS)
    return rest, [{name: row[name] for name in names} for row in rows]


def with_froc(evaluation: Evaluation, lesions: Iterable[dict]) -> Evaluation:
    """The evaluation with a FROC of each region, from the lesions of all its scans."""
    lesions = list(lesions)
    if not lesions:
        return evaluation
    curves, lacking = froc_of_rows(lesions)
    summary = replace(
        evaluation.summary,
        froc=[froc_at(region, curve) for region, curve in curves.items()] or None,
        not_evaluated=dict(evaluation.summary.not_evaluated)
        | {f"{region}, FROC": why for region, why in lacking.items()},
    )
    rows = [row for region, curve in curves.items() for row in froc_rows(region, curve)]
    return replace(evaluation, summary=summary, froc=rows, lesions=lesions)
