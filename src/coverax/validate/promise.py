"""What the references of new cases say of a promise: failures, or losses, by region."""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from coverax.calibrate import (
    LOSSES,
    Calibration,
    Counts,
    FnrRecord,
    RiskRecord,
    SetsRecord,
    Status,
    Threshold,
    VolumeRecord,
)
from coverax.predict import interval_of, voxel_ml_of
from coverax.rational import as_fraction
from coverax.scores import (
    View,
    compliance_scores,
    count_columns,
    engine_of,
    lone_batch,
    resolve_engine,
    score_maps,
    side_scores,
    side_transforms,
)
from coverax.table import SIDES
from coverax.validate.capital import compliance_capital, risk_capital


def check_watched(calibration: Calibration) -> None:
    """Refuse promises that no capital is known to watch.

    Raises:
        ValueError: It is of another kind, of groups, or promises nothing.
    """
    record, why = calibration.record, ""
    if isinstance(record, FnrRecord | VolumeRecord):
        if any(t.rank is None for t in calibration.thresholds):
            why = "a promise by weights, or of all cases of a unit, has no plain rank"
        if isinstance(record, VolumeRecord) and record.regions == "joint":
            why = "a promise of all regions at once is not watched region by region"
        if calibration.kind == "change":
            why = "a promise of two visits is not watched scan by scan"
    elif isinstance(record, RiskRecord) and calibration.delta is not None:
        why = "" if _is_watched(record) else _LOSS
    elif isinstance(record, SetsRecord):
        if record.regions == "joint":
            why = "a promise of all regions at once is not watched region by region"
    elif isinstance(record, RiskRecord):
        why = (
            "crc promises a mean over calibration sets, and given one set the mean loss "
            "may well lie above it"
        )
    else:
        why = f"method {calibration.method} has no watch by references yet"
    if calibration.is_grouped:
        why = "each group has a promise of its own"
    if calibration.policy.raters is not None:
        why = "several references a case are not joined here"
    if why:
        raise ValueError(
            f"--labels: {why}; without references the maps alone are watched. It goes "
            "with methods fnr, sets and volume, and with rcps and ltt of a built-in loss of voxels"
        )
    bad = [t for t in calibration.thresholds if t.status != Status.OK]
    if bad:
        raise ValueError(
            f"--labels: {bad[0].name} promises nothing ({bad[0].status.name})"
        )


# Rules by which both sides hold or fail at one rank.
_AT_ONCE = ("max", "ranked")
_LOSS = "a loss of one's own, or of lesions, is not computed here"


def _is_watched(record: RiskRecord) -> bool:
    return record.own_loss is None and record.loss in ("fnr", "fpr", "dice")


class Watched(NamedTuple):
    """One promise that references are bet on.

    Attributes:
        name: Of its losses and its capital.
        threshold: What decides; of two sides with one rank, that of the inner one.
        alpha: Its level.
    """

    name: str
    threshold: Threshold
    alpha: Fraction


def watched_promises(calibration: Calibration) -> list[Watched]:
    """One promise a region; of sets one a side, where each side has its own rank."""
    record, alpha = calibration.record, as_fraction(calibration.alpha)
    regions = dict.fromkeys(t.region for t in calibration.thresholds)
    if not isinstance(record, SetsRecord):
        return [Watched(r, calibration.threshold_of(r), alpha) for r in regions]
    if record.joint in _AT_ONCE:
        return [
            Watched(r, calibration.threshold_of(r, "inner"), alpha) for r in regions
        ]
    levels = {"inner": record.alpha_inner, "outer": record.alpha_outer}
    return [
        Watched(
            f"{r}.{side}", calibration.threshold_of(r, side), Fraction(levels[side])
        )
        for r in regions
        for side in SIDES
    ]


def outcomes_of(
    calibration: Calibration, case_id: str, views: list[View]
) -> dict[str, float]:
    """Loss of each promise for a case: 1 where it failed, or its mean loss.

    Regions that were refused are left out, and those whose reference is empty where
    they did not calibrate.
    """
    found: dict[str, float] = {}
    promised = {threshold.region for threshold in calibration.thresholds}
    for view in views:
        if view.region.name not in promised:
            continue
        aside = calibration.policy.empty in ("exclude", "refuse")
        if not view.labels.any() and aside:
            continue
        if isinstance(calibration.record, SetsRecord):
            found |= _set_outcomes(calibration, view)
        else:
            found[view.region.name] = _outcome(calibration, case_id, view)
    return found


def _set_outcomes(calibration: Calibration, view: View) -> dict[str, float]:
    """Whether each side of the sets of a case failed; of a rule of one rank, any."""
    definition, record = calibration.definition, calibration.sets
    engine = engine_of(definition, "auto" if definition.engine else "host")
    batch = lone_batch(engine, view, spatial=definition.is_spatial)
    transforms = side_transforms(record.inner, record.outer)
    maps = score_maps(engine, batch, definition, transforms)
    region, failed = view.region.name, dict[str, float]()
    for transform in transforms:
        values = maps[transform.side, transform.map_spec]
        score = np.asarray(side_scores(engine, batch, transform, values))[0]
        limit = calibration.threshold_of(region, transform.side).value
        failed[f"{region}.{transform.side}"] = float(not score <= limit)
    return {region: max(failed.values())} if record.joint in _AT_ONCE else failed


def _outcome(calibration: Calibration, case_id: str, view: View) -> float:
    engine = resolve_engine("host")
    own, ops = calibration.of_case(case_id).threshold_of(view.region.name), engine.ops
    if isinstance(calibration.record, VolumeRecord):
        batch = lone_batch(engine, view, spatial=False)
        columns = count_columns(engine, batch, calibration.definition)
        voxel_ml = np.array([voxel_ml_of(view)])
        true = np.asarray(columns["n_foreground"])
        score = interval_of(calibration).scores(columns, true, voxel_ml)[0]
        return float(not score <= own.value)
    probs, labels = view.probs[None], view.labels[None]
    if own.tolerance is not None:
        # An empty reference is never missed: its score is `-inf`.
        scores, _ = compliance_scores(engine, probs, labels, own.tolerance, own.score)
        return float(not scores[0] <= own.value)
    cuts = np.array([[own.probability]], np.float32)
    overlap = ops.overlap_counts(probs, labels, cuts)
    sizes = ops.sizes(labels)
    counts = Counts(
        cuts[0],
        np.asarray(sizes.n_voxels)[:, None],
        np.asarray(sizes.n_foreground)[:, None],
        np.asarray(overlap.n_predicted),
        np.asarray(overlap.n_true_positive),
    )
    record: Any = calibration.record
    return float(LOSSES[record.loss].of(counts)[0, 0])


def promise_capital(
    calibration: Calibration, promise: Watched, losses: list[float]
) -> Float[np.ndarray, " new"]:
    """Capital against a promise, after each new unit that counts."""
    if calibration.delta is None:
        failed, threshold = np.array(losses, bool), promise.threshold
        return compliance_capital(failed, threshold.n_units, threshold.order)
    return risk_capital(np.array(losses, float), promise.alpha)
