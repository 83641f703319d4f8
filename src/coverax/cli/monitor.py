"""`coverax monitor`: do new scans look like those that calibrated."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coverax.cli.common import (
    AllowHardMasks,
    AsJson,
    Threads,
    UnitPattern,
    check_not_input,
    load_maps,
    note,
    parse_alpha,
    print_json,
    say,
    show_progress,
)
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.calibrate import Calibration
    from coverax.validate import WatchedLook

NAME = "monitor"


def command(
    calibration: Annotated[Path, typer.Argument(help="calibration.json.")],
    probs: Annotated[
        Path | None, typer.Option("--probs", help="Folder of new maps.")
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(
            "--cohort",
            help="cohort.csv instead of --probs; with --state its references are bet on.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="A memory, for any number of looks: monitor.json, made by the first. "
            "The level is then that of an alarm ever."
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="One look, without a memory; so it is without --state."
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="With --state: folder of references of some of the maps, to bet "
            "against the promise itself.",
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            parser=parse_alpha,
            metavar="LEVEL",
            help="Tolerated probability of a false alarm: of this one look (for L looks "
            "give the level over L), or with --state ever. [default: 0.01]",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of what breaks ties. [default: 0]"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="With --state: picture of the capital over time (PNG, SVG)."),
    ] = None,
    unit_pattern: UnitPattern = None,
    threads: Threads = None,
    allow_hard_masks: AllowHardMasks = False,
    as_json: AsJson = False,
) -> None:
    """Compare new maps, and references, with the calibration; exit code 3 on alarm."""
    from coverax.calibrate import read_calibration
    from coverax.volumes import map_files

    if cohort is not None and labels is not None:
        raise typer.BadParameter("--labels goes with --probs")
    if once and state is not None:
        raise typer.BadParameter("give either --once or --state")
    for name, value in (("--labels", labels), ("--plot", plot)):
        if value is not None and state is None:
            raise typer.BadParameter(f"{name} goes with --state")
    if state is not None:
        check_not_input(state, calibration, cohort)
    loaded = read_calibration(calibration)
    maps, units, references = _found(probs, cohort, unit_pattern)
    own = {"threads": threads, "allow_hard_masks": allow_hard_masks}
    if state is None:
        if not once:
            note("one look (--once); with --state FILE one may look again and again")
        _look_once(loaded, maps, level or "0.01", seed or 0, units, own, as_json)
        return
    if labels is not None:
        references = map_files(labels)
    fixed = {"level": level, "seed": seed, "labels": references}
    _watch(loaded, maps, state, fixed | own, units, plot, as_json)


def _found(
    probs: Path | None, cohort: Path | None, unit_pattern: str | None
) -> tuple[dict[str, Path], dict[str, str], dict[str, Path] | None]:
    """Maps, their units, and of a cohort the references that it names."""
    from coverax.volumes import check_maps_differ, map_files, maps_of_cases, units_of

    found = load_maps(probs, cohort, unit_pattern=unit_pattern)
    if found is None:
        maps = map_files(probs or "")
        check_maps_differ(maps.items(), "--probs")
        return maps, units_of(maps, unit_pattern), None
    labels: dict[str, Path] = {}
    for case in found.cases:
        if case.labels is None:
            continue
        path = Path(case.labels)
        is_other = labels.setdefault(case.case_id, path) != path
        if is_other or case.region or case.valid:
            raise ValueError(
                f"{cohort}: case {case.case_id} has a reference a rater or a region, or a "
                "mask of voxels that count, and a bet is on one whole reference: give "
                "--probs and --labels"
            )
    units = {case.case_id: case.unit for case in found.cases}
    return maps_of_cases(found), units, labels or None


def _watch(
    loaded: "Calibration",
    maps: dict[str, Path],
    state: Path,
    options: dict[str, Any],
    units: dict[str, str],
    plot: Path | None,
    as_json: bool,
) -> None:
    """A look that is remembered."""
    from coverax.validate import watch_folder

    if plot is not None:
        from coverax.report import check_figures

        check_figures()
    with show_progress("Reading", len(maps)) as on_case:
        result = watch_folder(
            loaded, maps, state, units=units, on_case=on_case, **options
        )
    if plot is not None and not state.exists():
        note(f"{plot}: no picture, nothing is remembered yet")
    elif plot is not None:
        from coverax.report import draw_capital

        draw_capital(loaded, state, plot)
    if as_json:
        print_json(result.to_json())
    else:
        _say(result, state)
    if result.found.alarm:
        raise typer.Exit(3)


def _say(result: "WatchedLook", state: Path) -> None:
    found = result.found
    note(
        f"{state}: look {result.n_looks}, {result.n_new} new units of "
        f"{found.n_maps}, {result.n_new_references} new references of "
        f"{found.n_references}"
    )
    if n_not := result.n_not_counted:
        note(
            f"{plural(n_not, 'map', 'is', 'are')} not counted: of units seen before, "
            "here or in calibration"
        )
    say(found.sentence)
    say(result.meaning)


def _look_once(
    loaded: "Calibration",
    maps: dict[str, Path],
    level: str,
    seed: int,
    units: dict[str, str],
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """A test at one level, which remembers nothing."""
    from coverax.validate import monitor_folder

    chosen = _one_per_unit(maps, units)
    with show_progress("Reading", len(chosen)) as on_case:
        result = monitor_folder(
            loaded, chosen, level=level, seed=seed, on_case=on_case, **options
        )
    if as_json:
        print_json(result.to_json())
        return
    for name, p_value in result.p_values.items():
        say(f"{name}: p = {p_value:.3g}")
    if n_seen := result.n_seen_in_calibration:
        note(
            f"{n_seen} of {plural(result.n_new, 'map')} calibrated themselves (by case "
            "id or map): they cannot show drift"
        )
    verdict = "DRIFT" if result.drift else "no drift found"
    say(f"{verdict} at level {level} of this look, {result.n_new} new maps")
    say(result.meaning)
    say(result.looks)


def _one_per_unit(maps: dict[str, Path], units: dict[str, str]) -> dict[str, Path]:
    """One map of each unit: scans of one patient are no independent witnesses."""
    import numpy as np

    from coverax.calibrate import draw_one_per_unit

    ids = np.array(list(maps))
    of_each = np.array([units[case_id] for case_id in maps])
    drawn = draw_one_per_unit(ids, of_each, np.ones(len(ids), bool), 0)
    if not drawn.all():
        note(f"one map of each unit is compared: {drawn.sum()} of {len(ids)}")
    return {case_id: maps[case_id] for case_id in ids[drawn].tolist()}
