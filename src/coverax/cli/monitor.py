"""`coverax monitor`: do new scans look like those that calibrated."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AllowHardMasks,
    AsJson,
    Threads,
    UnitPattern,
    note,
    parse_alpha,
    print_json,
    show_progress,
)

NAME = "monitor"


def command(
    calibration: Annotated[Path, typer.Argument(help="calibration.json.")],
    probs: Annotated[Path, typer.Option("--probs", help="Folder of new maps.")],
    level: Annotated[
        str,
        typer.Option(
            parser=parse_alpha,
            metavar="LEVEL",
            help="Tolerated probability of a false alarm of this one look; for L looks "
            "give the level over L.",
        ),
    ] = "0.01",
    unit_pattern: UnitPattern = None,
    threads: Threads = None,
    allow_hard_masks: AllowHardMasks = False,
    as_json: AsJson = False,
) -> None:
    """Compare new maps with the calibration cohort, without references."""
    from coverax.calibrate import read_calibration
    from coverax.validate import monitor_folder
    from coverax.volumes import map_files

    loaded = read_calibration(calibration)
    maps = _one_per_unit(map_files(probs), unit_pattern)
    with show_progress("Reading", len(maps)) as on_case:
        result = monitor_folder(
            loaded,
            maps,
            level=level,
            threads=threads,
            allow_hard_masks=allow_hard_masks,
            on_case=on_case,
        )
    if as_json:
        print_json(result)
        return
    for name, p_value in result["p_values"].items():
        note(f"{name}: p = {p_value:.3g}")
    if n_seen := result["n_seen_in_calibration"]:
        note(
            f"{n_seen} of {result['n_new']} maps calibrated themselves (by case id or "
            "map): they cannot show drift"
        )
    verdict = "DRIFT" if result["drift"] else "no drift found"
    note(f"{verdict} at level {level} of this look, {result['n_new']} new maps")
    note(result["meaning"])
    note(result["looks"])


def _one_per_unit(maps: dict[str, Path], pattern: str | None) -> dict[str, Path]:
    """One map of each unit: scans of one patient are no independent witnesses."""
    import numpy as np

    from coverax.calibrate import draw_one_per_unit
    from coverax.volumes import check_maps_differ, units_of

    check_maps_differ(maps.items(), "--probs")
    ids, units = np.array(list(maps)), units_of(maps, pattern)
    of_each = np.array([units[case_id] for case_id in maps])
    drawn = draw_one_per_unit(ids, of_each, np.ones(len(ids), bool), 0)
    if not drawn.all():
        note(f"one map of each unit is compared: {drawn.sum()} of {len(ids)}")
    return {case_id: maps[case_id] for case_id in ids[drawn].tolist()}
