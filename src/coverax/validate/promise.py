"""What the references of new cases say of a promise: failures, or losses, by region."""

from typing import Any

import numpy as np
from jaxtyping import Float

from coverax.calibrate import LOSSES, Calibration, Counts, FnrRecord, RiskRecord, Status
from coverax.rational import as_fraction
from coverax.scores import View, resolve_engine
from coverax.validate.capital import compliance_capital, risk_capital


def check_watched(calibration: Calibration) -> None:
    """Refuse promises that no capital is known to watch.

    Raises:
        ValueError: It is of another kind, of groups, or promises nothing.
    """
    record = calibration.record
    if isinstance(record, FnrRecord):
        why = ""
        if calibration.policy.per_unit == "all" or record.weights is not None:
            why = "a promise by weights, or of all cases of a unit, has no plain rank"
    elif isinstance(record, RiskRecord) and calibration.delta is not None:
        why = "" if _is_watched(record) else _LOSS
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
            "with method fnr, and with rcps and ltt of a built-in loss of voxels"
        )
    bad = [t for t in calibration.thresholds if t.status != Status.OK]
    if bad:
        raise ValueError(
            f"--labels: {bad[0].name} promises nothing ({bad[0].status.name})"
        )


_LOSS = "a loss of one's own, or of lesions, is not computed here"


def _is_watched(record: RiskRecord) -> bool:
    return record.own_loss is None and record.loss in ("fnr", "fpr", "dice")


def outcomes_of(
    calibration: Calibration, case_id: str, views: list[View]
) -> dict[str, float]:
    """Loss of each region of a case: 1 where its promise failed, or its mean loss.

    Regions whose reference is empty are left out where they did not calibrate.
    """
    found: dict[str, float] = {}
    for view in views:
        aside = calibration.policy.empty in ("exclude", "refuse")
        if view.labels.any() or not aside:
            found[view.region.name] = _outcome(calibration, case_id, view)
    return found


def _outcome(calibration: Calibration, case_id: str, view: View) -> float:
    ops = resolve_engine("host").ops
    own = calibration.of_case(case_id).threshold_of(view.region.name)
    probs, labels = view.probs[None], view.labels[None]
    if own.tolerance is not None:
        critical = ops.critical_probability(probs, labels, [own.tolerance])
        # An empty reference is never missed: its critical probability is infinite.
        return float(not 0.0 - np.asarray(critical)[0, 0] <= own.value)
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
    calibration: Calibration, region: str, losses: list[float]
) -> Float[np.ndarray, " new"]:
    """Capital against the promise of a region, after each new unit that counts."""
    threshold = calibration.threshold_of(region)
    if calibration.delta is None:
        failed = np.array(losses, bool)
        return compliance_capital(failed, threshold.n_units, threshold.order)
    return risk_capital(np.array(losses, float), as_fraction(calibration.alpha))
