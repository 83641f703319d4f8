"""What a calibration of sets promises, in words."""

from coverax.calibrate.joint import Levels
from coverax.calibrate.policy import Policy
from coverax.calibrate.raters import rater_words
from coverax.calibrate.result import Status, Threshold
from coverax.calibrate.seal import whom
from coverax.choices import Joint, Regions
from coverax.rational import Level, as_fraction


def lost_first(promise: str, lost: str, *, some_hold: bool) -> str:
    """A statement that opens with what cannot be kept, where something cannot."""
    if not lost:
        return promise
    rest = "Elsewhere: " if some_hold else "What was asked for, and is NOT promised: "
    return f"{lost}{rest}{promise}"


def set_statement(
    thresholds: list[Threshold],
    levels: Levels,
    joint: Joint,
    regions: Regions,
    policy: Policy,
    delta: Level | None,
) -> str:
    """The guarantee in words, with its assumptions and what it does not say."""
    text = _promise(thresholds, levels, joint, policy)
    text += _scope(joint, delta)
    text += (
        "It assumes that the model never "
        "saw a calibration or new unit, and that transforms, rule, split and alpha were "
        "fixed before looking at these cases. "
    )
    text += rater_words(policy.raters)
    if len({t.region for t in thresholds}) > 1:
        text += (
            "It holds for all regions of a case jointly. "
            if regions == "joint"
            else "It holds for each region on its own, not for all of them jointly. "
        )
    lost = ""
    for t in thresholds:
        if t.status != Status.OK:
            what = "empty" if t.side == "inner" else "everything"
            lost += (
                f"Region {t.region}: NO INFORMATIVE GUARANTEE ({t.status.name}): the only "
                f"safe {t.side} set is {what}. "
            )
    some_hold = any(t.status == Status.OK for t in thresholds)
    return lost_first(text, lost, some_hold=some_hold).strip()


def _promise(
    thresholds: list[Threshold], levels: Levels, joint: Joint, policy: Policy
) -> str:
    """What holds of both sides, and with which probability."""
    tolerance = {t.side: t.tolerance for t in thresholds}
    inner = "the inner set lies within the reference"
    if tolerance["inner"]:
        inner = (
            "the voxels of the inner set off the reference are at most "
            f"{tolerance['inner']} of the reference"
        )
    outer = "the outer set holds all of the reference"
    if tolerance["outer"]:
        outer = f"the outer set holds all but {tolerance['outer']} of the reference"
    confidence = float(1 - levels.alpha)
    if joint == "each":
        return (
            f"For {whom(policy)}: with probability at least {confidence}, {inner}; with "
            f"probability at least {confidence}, {outer}. Each holds on its own, not "
            "both at once. "
        )
    split = ""
    if joint == "bonferroni":
        split = f", {float(levels.inner):g} inner and {float(levels.outer):g} outer"
    return (
        f"For {whom(policy)}, with probability at least {confidence}, {inner} and {outer}, "
        f"both at once (rule {joint}{split}). "
    )


def _scope(joint: Joint, delta: Level | None) -> str:
    """What the probability is over, and what that needs of the units."""
    if delta is None:
        return (
            "The probability is over the calibration units and the new one together "
            "(marginal), and needs them to be exchangeable. "
        )
    whole = {
        "each": ", for each side on its own",
        "bonferroni": ", for both sides together",
    }.get(joint, "")
    return (
        f"This holds for all but a share {float(as_fraction(delta))} of calibration "
        f"sets{whole}, and needs the units to be independent and identically "
        "distributed. "
    )
