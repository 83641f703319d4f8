"""Whose threshold a case is served by, where groups have their own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from coverax.calibrate.groups import MERGED
from coverax.calibrate.record import TriageRecord
from coverax.calibrate.strata import Strata

if TYPE_CHECKING:
    from coverax.calibrate.result import Calibration


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
        ValueError: It is by something else, a part of it was refused, or units, cases or
            maps of its set the edges.
    """
    if calibration.policy.group_by != strata.name:
        raise ValueError(
            f"the calibration is by {calibration.policy.group_by}, not by {strata.name}"
        )
    strata.seen.check_apart(calibration.seen, "set the edges of groups")
    n = len(strata.learned_units)
    text = f"Groups are told by the map alone, by edges that {n} other units set."
    found = replace(
        calibration,
        parts=replace(calibration.parts, strata=strata),
        statement=f"{calibration.statement} {text}",
    )
    return replace(found, digest=found.to_json()["digest"])


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
