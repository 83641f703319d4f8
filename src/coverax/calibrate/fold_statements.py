"""What a calibration from folds promises, in words."""

from coverax.calibrate.joint import Levels
from coverax.calibrate.policy import Policy
from coverax.calibrate.result import Status, Threshold
from coverax.calibrate.seal import scope, whom
from coverax.calibrate.statements import lost_first
from coverax.choices import Joint


def fold_set_statement(
    thresholds: list[Threshold],
    levels: Levels,
    joint: Joint,
    policy: Policy,
    n_folds: int,
) -> str:
    """The guarantee of sets from folds, with its assumptions."""
    inner = "the inner set lies within the reference"
    outer = "the outer set holds all of the reference"
    confidence = float(1 - levels.alpha)
    if joint == "each":
        text = (
            f"For {whom(policy)}: with probability at least {confidence}, {inner}; with "
            f"probability at least {confidence}, {outer}. Each holds on its own, not "
            "both at once. "
        )
    else:
        text = (
            f"For {whom(policy)}, with probability at least {confidence}, {inner} and "
            f"{outer}, both at once (rule {joint}, {float(levels.inner):g} inner and "
            f"{float(levels.outer):g} outer). "
        )
    text += (
        f"The sets are made from the maps of {n_folds} folds: a voxel is left out (of "
        "the outer set, or of what is not in the inner one) where its p-values, each "
        "among the scores of one fold, have a mean of at most half of the level, since "
        "twice a mean of p-values is a p-value whatever their dependence. The "
        "probability is over the calibration units and the new one together (marginal). "
    )
    lost = "".join(
        f"Region {t.region}: NO INFORMATIVE GUARANTEE ({t.status.name}): the only safe "
        f"{t.side} set is {'empty' if t.side == 'inner' else 'everything'}. "
        for t in thresholds
        if t.status != Status.OK
    )
    return closed(text, lost, thresholds, policy)


_ASSUMED = (
    "It assumes that a new unit is exchangeable with the units of each fold, given its "
    "model (not that folds are alike), that the model of a fold saw neither a unit of it nor "
    "the new one, and that the folds, the method and its levels were fixed before "
    "looking. Nothing is assumed of how the models were trained, of what they have in "
    "common, or of the sizes of the folds. It speaks of the mask made from the maps of "
    "all folds, and says nothing of the mean of those maps at a cut ranked over all "
    "cases. "
)


def closed(promise: str, lost: str, thresholds: list[Threshold], policy: Policy) -> str:
    """A promise with its assumptions; what is lost comes first."""
    bad = {t.region for t in thresholds if t.status != Status.OK}
    some_hold = any(t.region not in bad for t in thresholds)
    text = promise + _ASSUMED + scope(thresholds, policy)
    return lost_first(text, lost, some_hold=some_hold).strip()
