"""`coverax calibrate`: a score table to thresholds with a guarantee."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coverax.choices import (
    AnyLoss,
    BoundName,
    ConfidentAt,
    CorrectionName,
    EmptyPolicy,
    Joint,
    Method,
    OneSided,
    PerUnit,
    Regions,
    Safe,
    VolumeScale,
)
from coverax.cli.common import (
    AllowVacuous,
    Alpha,
    AsJson,
    Delta,
    Raters,
    UnitColumn,
    check_not_input,
    note,
    parse_alpha,
    parse_tolerance,
    print_json,
    say,
)
from coverax.cli.methods import DESCRIBE, METHODS, Request, WhichScore, check_options
from coverax.cli.sites import calibrate_sums, one_table
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.calibrate import Calibration, Strata
    from coverax.scores import ScoreTable

NAME = "calibrate"


def command(
    scores: Annotated[
        list[Path],
        typer.Argument(
            help="scores.parquet of the calibration cohort; with --sites the files of "
            "all sites."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="calibration.json to write.")
    ],
    alpha: Alpha,
    method: Annotated[Method, typer.Option(help="Which guarantee.")] = "fnr",
    tolerance: Annotated[
        str | None,
        typer.Option(
            parser=parse_tolerance,
            metavar="SHARE",
            help="Tolerated false-negative rate; needed where the table has several.",
        ),
    ] = None,
    score: WhichScore = None,
    delta: Delta = None,
    empty: Annotated[
        EmptyPolicy | None,
        typer.Option(
            help="Empty references. [default: exclude; include for sets, volume, triage]"
        ),
    ] = None,
    unit: UnitColumn = "unit",
    per_unit: Annotated[
        PerUnit | None,
        typer.Option(help="Draw one case of each unit, or weigh units alike with all."),
    ] = None,
    raters: Raters = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws.")] = 0,
    inner: Annotated[
        str | None,
        typer.Option(metavar="TRANSFORM", help="sets: transform of the inner set."),
    ] = None,
    outer: Annotated[
        str | None,
        typer.Option(metavar="TRANSFORM", help="sets: transform of the outer set."),
    ] = None,
    joint: Annotated[
        Joint | None,
        typer.Option(help="sets: how both promises hold. [default: bonferroni]"),
    ] = None,
    alpha_inner: Annotated[
        str | None,
        typer.Option(
            parser=parse_alpha,
            metavar="LEVEL",
            help="sets: what of alpha the inner set gets. [default: learned, or half]",
        ),
    ] = None,
    transforms: Annotated[
        Path | None, typer.Option(help="sets: transforms.json of learn-sets.")
    ] = None,
    regions: Annotated[
        Regions | None,
        typer.Option(
            help="sets, volume: regions each on its own, or jointly. [default: each]"
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|FEATURE:N",
            help="Column of groups, each with its own threshold; or N bins of "
            "predicted_volume or uncertainty, which every map tells of itself.",
        ),
    ] = None,
    edges_from: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="With --group-by FEATURE:N: scores.parquet of other units, which set the "
            "edges of the bins.",
        ),
    ] = None,
    group_floor: Annotated[
        int | None, typer.Option(min=1, help="Merge groups of fewer units into one.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="fnr: column of likelihood ratios under shift.")
    ] = None,
    largest_weight: Annotated[
        str | None,
        typer.Option(
            metavar="W", help="fnr: largest new weight. [default: of the column]"
        ),
    ] = None,
    loss: Annotated[
        AnyLoss | None,
        typer.Option(
            help="crc, rcps, ltt: the expected loss; triage: dice, missed or fnr. "
            "[default: fnr; dice for triage]"
        ),
    ] = None,
    bound: Annotated[
        BoundName | None,
        typer.Option(
            help="rcps, sets with --delta: bound of the mean loss. "
            "[default: wsr; clopper_pearson for sets]"
        ),
    ] = None,
    loss_file: Annotated[
        Path | None,
        typer.Option(help="crc, rcps, ltt: CSV of your own losses, one column a cut."),
    ] = None,
    safe: Annotated[
        Safe | None, typer.Option(help="With --loss-file: the cuts where it is small.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="LOSS=LEVEL", help="ltt: a further loss; repeat."),
    ] = None,
    correction: Annotated[
        CorrectionName | None,
        typer.Option(help="ltt: how multiple tests are paid for."),
    ] = None,
    break_ties: Annotated[
        bool,
        typer.Option(
            "--break-ties", help="fnr: break ties at random, by names and --seed."
        ),
    ] = False,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds",
            help="sets, crc, fnr: from a cross-validation, by the column fold of the "
            "table; predict then takes the maps of all folds.",
        ),
    ] = False,
    vote: Annotated[
        str | None,
        typer.Option(
            metavar="majority|union|SHARE",
            help="crc with --folds: more than this share of the folds mark a voxel. "
            "[default: majority]",
        ),
    ] = None,
    estimate: Annotated[
        str | None,
        typer.Option(
            metavar="cut=C|sum",
            help="volume: voxels at or above C, or the sum of the probabilities. "
            "[default: cut=0.5]",
        ),
    ] = None,
    scale: Annotated[
        VolumeScale | None,
        typer.Option(
            help="volume: what an error is divided by: uncertain mass of the map, "
            "nothing of its logarithm, nothing. [default: mass]"
        ),
    ] = None,
    one_sided: Annotated[
        OneSided | None,
        typer.Option(help="volume: bound it from one side alone."),
    ] = None,
    change: Annotated[
        bool,
        typer.Option(
            "--change",
            help="volume: bound its change between the two visits of each unit (a column "
            "visit of the cohort).",
        ),
    ] = False,
    bad_below: Annotated[
        str | None,
        typer.Option(
            parser=parse_alpha,
            metavar="DICE",
            help="triage: a mask of less Dice is bad, and how often one goes out counts.",
        ),
    ] = None,
    confidence: Annotated[
        str | None,
        typer.Option(
            metavar="sdc|mass|COLUMN",
            help="triage: Soft Dice Confidence, uncertain mass, or a further column of "
            "cohort.csv that needs no reference. [default: sdc]",
        ),
    ] = None,
    confident_at: Annotated[
        ConfidentAt | None,
        typer.Option(
            help="triage: whether low or high numbers of that column are confident."
        ),
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(
            metavar="C", help="triage: cut of the masks that go out. [default: 0.5]"
        ),
    ] = None,
    sites: Annotated[
        bool,
        typer.Option(
            "--sites",
            help="crc, rcps, ltt: from the sums of several sites (coverax summarise).",
        ),
    ] = False,
    allow_vacuous: AllowVacuous = False,
    allow_scarce: Annotated[
        bool,
        typer.Option(
            "--allow-scarce",
            help="Keep the regions and groups that have a guarantee; refuse the others, "
            "which get no mask.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Turn scores into a threshold that carries a finite-sample guarantee."""
    from coverax.scores import read_table

    if allow_vacuous and allow_scarce:
        raise typer.BadParameter("give either --allow-vacuous or --allow-scarce")
    check_not_input(output, *scores, transforms, edges_from)
    request = Request(
        alpha=alpha,
        tolerance=tolerance,
        delta=delta,
        empty=empty,
        unit=unit,
        per_unit=per_unit,
        seed=seed,
        inner=inner,
        outer=outer,
        joint=joint,
        alpha_inner=alpha_inner,
        transforms=transforms,
        regions=regions,
        group_by=group_by,
        group_floor=group_floor,
        weights=weights,
        largest_weight=largest_weight,
        raters=raters,
        loss=loss,
        loss_file=loss_file,
        safe=safe,
        bound=bound,
        also=also or None,
        correction=correction,
        break_ties=break_ties or None,
        folds=folds or None,
        vote=vote,
        estimate=estimate,
        scale=scale,
        one_sided=one_sided,
        change=change or None,
        bad_below=bad_below,
        confidence=confidence,
        confident_at=confident_at,
        cut=cut,
        score=score,
    )
    check_options(method, request)
    strata = _strata(request, edges_from)
    if strata is not None and allow_scarce:
        raise typer.BadParameter(
            "--allow-scarce does not go with bins of maps, since a new one may be of "
            "any: ask for fewer, or give --group-floor"
        )
    if sites and strata is not None:
        raise typer.BadParameter(
            "sums of sites hold no maps: --sites knows no bins of them"
        )
    if sites:
        calibration = calibrate_sums(scores, method, request)
    else:
        table = read_table(one_table(scores))
        calibration = _calibrated(method, table, request, strata)
    if allow_scarce:
        calibration = calibration.promised()
    if not allow_vacuous:
        calibration.raise_if_bad()
    calibration.write(output)
    if as_json:
        print_json(calibration.to_json())
        return
    _tell(calibration)


def _strata(request: Request, edges_from: Path | None) -> "Strata | None":
    """The bins of maps that were asked for, by the table that sets their edges."""
    from coverax.calibrate import is_strata, learn_strata
    from coverax.scores import read_table

    if not is_strata(request.group_by):
        if edges_from is not None:
            raise typer.BadParameter(
                "--edges-from goes with --group-by predicted_volume:N or uncertainty:N"
            )
        return None
    if edges_from is None:
        raise typer.BadParameter(
            f"--group-by {request.group_by} needs --edges-from: edges are fixed on other "
            "units than those that calibrate"
        )
    table = read_table(edges_from)
    return learn_strata(table, str(request.group_by), unit_column=request.unit)


def _calibrated(
    method: Method, table: "ScoreTable", request: Request, strata: "Strata | None"
) -> "Calibration":
    from coverax.calibrate import stratified, with_strata

    calibrate = METHODS[method].calibrate
    if strata is None:
        return calibrate(table, request)
    return with_strata(calibrate(stratified(table, strata), request), strata)


def _tell(calibration: "Calibration") -> None:
    """Lines on what was calibrated, refused and left out, and the guarantee."""
    for t in calibration.thresholds:
        say(f"{t.name}: {DESCRIBE[calibration.kind](t)} ({t.place}, {t.status.name})")
        if t.n_tied > 1 and t.tie is None:
            say(f"{t.name}: {t.n_tied} units tie at the threshold: over-covers")
    for part in calibration.refused_parts:
        where = f"region {part.region}"
        where += f", group {part.group}" if part.group else ""
        say(f"{where}: refused ({part.status}): no mask")
    for why, ids in calibration.excluded.items():
        note(f"left out ({why}): {plural(len(ids), 'case')}")
    say(calibration.statement)
