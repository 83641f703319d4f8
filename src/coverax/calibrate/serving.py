"""Whose threshold a case is served by, where groups have their own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from coverax.calibrate.groups import MERGED
from coverax.calibrate.record import TriageRecord, VolumeRecord
from coverax.calibrate.strata import Strata

if TYPE_CHECKING:
    from coverax.calibrate.result import Calibration

_MAY_BE_ANY = (
    "a new map may be of any bin, so that none can be refused: ask for fewer bins, or "
    "for a floor (group_floor, --group-floor)"
)


def served_group(calibration: "Calibration", group: str) -> "Calibration":
    """What a case of this group is served by, where there are groups.

    With a floor, a group that is small or was never met is served by `other`.

    Raises:
        ValueError: No group is named, no unit of it was calibrated (and there is no
            floor, or nothing for `other`), or it was refused in every region.
    """
    by = str(calibration.policy.group_by)
    if not group:
        raise ValueError(
            f"no {by} is named, and each {by} has a threshold of its own: no promise "
            "can be given"
        )
    own = tuple(
        t
        for t in calibration.thresholds
        if t.group in ("", _serving(calibration, t.region, group))
    )
    found = replace(
        calibration,
        thresholds=own,
        policy=calibration.policy._replace(group_by=None),
        parts=replace(calibration.parts, group=group),
    )
    lacking = {t.region for t in calibration.thresholds} - {t.region for t in own}
    refused = {region: found.refused(region) for region in sorted(lacking)}
    if lacking and (not own or None in refused.values()):
        raise ValueError(_not_served(calibration, by, group, refused, some=bool(own)))
    return found


def served_map(calibration: "Calibration", groups: Mapping[str, str]) -> "Calibration":
    """What a case is served by where its map tells its group, region by region.

    Raises:
        ValueError: Nothing was calibrated of a group, or it was refused.
    """
    own = tuple(
        t
        for t in calibration.thresholds
        if t.region in groups
        and t.group in ("", _serving(calibration, t.region, groups[t.region]))
    )
    lacking = groups.keys() - {t.region for t in own}
    if lacking:
        region = min(lacking)
        raise ValueError(
            f"region {region}: its map is of {calibration.policy.group_by} "
            f"{groups[region]!r}, which was not calibrated: no promise can be given"
        )
    return replace(
        calibration,
        thresholds=own,
        policy=calibration.policy._replace(group_by=None),
    )


def with_strata(calibration: "Calibration", strata: Strata) -> "Calibration":
    """A calibration by the bins of maps, which knows how a new map tells its own.

    Args:
        calibration: Of a table of `stratified`, by `strata.name`.
        strata: The bins.

    Raises:
        ValueError: It is by something else, for regions jointly, a part of it was
            refused, or units, cases or maps of its set the edges.
    """
    if calibration.policy.group_by != strata.name:
        raise ValueError(
            f"the calibration is by {calibration.policy.group_by}, not by {strata.name}"
        )
    if calibration.refused_parts:
        raise ValueError(_MAY_BE_ANY)
    if calibration.kind == "change":
        raise ValueError(
            "a change has two maps, which may lie in different bins: group by a column of "
            "the cohort"
        )
    if isinstance(calibration.record, VolumeRecord) and (
        calibration.record.regions == "joint"
    ):
        raise ValueError(
            "regions of one case may lie in different bins of maps, so that a promise "
            "for all of them jointly (regions='joint', --regions joint) fails"
        )
    strata.seen.check_apart(calibration.seen, "set the edges of groups")
    n = len(strata.learned_units)
    text = f"Groups are told by the map alone, by edges that {n} other units set."
    text += _bins_without_units(calibration, strata)
    found = replace(
        calibration,
        parts=replace(calibration.parts, strata=strata),
        statement=f"{calibration.statement} {text}",
    )
    return replace(found, digest=found.to_json()["digest"])


def check_whole(calibration: "Calibration") -> None:
    """Refuse to leave out parts of a calibration by bins of maps.

    Raises:
        ValueError: It is one.
    """
    if calibration.parts.strata is not None:
        raise ValueError(_MAY_BE_ANY)


def _bins_without_units(calibration: "Calibration", strata: Strata) -> str:
    """Whose maps will be refused, since nothing like them calibrated."""
    if calibration.policy.group_floor:
        return ""
    met = {(t.region, t.group) for t in calibration.thresholds}
    some = {region for region, group in met if group}
    lacking = [
        f"{region} {k + 1} of {strata.n}"
        for region in sorted(some)
        for k in range(strata.n)
        if (region, f"{k + 1} of {strata.n}") not in met
    ]
    if not lacking:
        return ""
    which = ", ".join(lacking)
    return f" No unit calibrated {which}: maps of these bins have no promise."


def check_named(calibration: "Calibration", what: str) -> None:
    """Refuse a calibration by bins of maps where nothing looks for the bin of a map.

    Raises:
        ValueError: It is one.
    """
    if calibration.parts.strata is not None:
        raise ValueError(
            f"the map of a case tells its {calibration.policy.group_by}, and {what} do not "
            "look for it: predict and evaluate whole folders"
        )


def check_in_memory(calibration: "Calibration") -> None:
    """Refuse arrays where only whole files or cohorts say what serves a case.

    Raises:
        ValueError: The calibration is by bins of maps, or ranks masks by a column of the
            cohort.
    """
    check_named(calibration, "arrays in memory")
    if calibration.kind == "change":
        raise ValueError(
            "the calibration is of a change between two visits, and arrays in memory name "
            "none: predict and evaluate a cohort of files"
        )
    record = calibration.record
    if isinstance(record, TriageRecord) and record.confident_at is not None:
        raise ValueError(
            f"the calibration ranks masks by {record.confidence} of the cohort, and arrays "
            "in memory have none: predict and evaluate a cohort of files, or decide with "
            "calibrate.is_released"
        )


def status_of_refused(
    calibration: "Calibration", region: str, group: str | None
) -> str | None:
    """Status of a region that was refused, for all or for a group; None if not."""
    own = calibration.parts.group or "" if group is None else group
    served = {"", own, _serving(calibration, region, own)}
    found = (
        part.status
        for part in calibration.refused_parts
        if part.region == region and part.group in served
    )
    return next(found, None)


def _serving(calibration: "Calibration", region: str, group: str) -> str:
    """Name of the group whose threshold serves a group in a region."""
    standing = {t.group for t in calibration.thresholds if t.region == region}
    standing |= {p.group for p in calibration.refused_parts if p.region == region}
    is_merged = calibration.policy.group_floor and group not in standing
    return MERGED if is_merged else group


def _not_served(
    calibration: "Calibration",
    by: str,
    group: str,
    refused: dict[str, str | None],
    *,
    some: bool,
) -> str:
    known = ", ".join(sorted({t.group for t in calibration.thresholds}))
    statuses = {status for status in refused.values() if status}
    if statuses:
        why = f"was refused in calibration ({', '.join(sorted(statuses))})"
    else:
        where = f" in region {', '.join(refused)}" if some else ""
        why = f"was not calibrated{where}, only {known}"
    return f"{by} {group!r} {why}: no promise can be given"
