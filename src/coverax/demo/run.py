"""The whole flow on the real cohort, through the functions the CLI calls."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from coverax.calibrate import Calibration, calibrate_fnr
from coverax.choices import EngineName
from coverax.demo.cohort import load_nodules, one_nodule_per_patient, write_nodules
from coverax.evaluate import Evaluation, evaluate_cohort, write_evaluation
from coverax.files import PathLike
from coverax.folders import whole_folder
from coverax.predict import predict_folder
from coverax.rational import Level
from coverax.scores import ScoreDefinition, score_cohort, sorted_tolerances
from coverax.volumes import read_cohort

N_CALIBRATION = 300

# (what is being done, how many cases) -> context that yields "one case done"
Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo promised, and what happened on held-out patients."""

    calibration: Calibration
    evaluation: Evaluation


def run_demo(
    output: PathLike,
    progress: Progress,
    *,
    alpha: Level = "0.1",
    tolerance: Level = "0.1",
    seed: int = 0,
    engine: EngineName = "auto",
    finish: Callable[[DemoResult, Path], None] = lambda _result, _folder: None,
) -> DemoResult:
    """Write the cohort, then score, calibrate, predict and evaluate.

    Patients are split at random: 300 calibrate, the others are held out; one nodule of
    each patient is drawn. `finish` may add to the folder before it takes its name.

    Raises:
        FileExistsError: `output` holds something already.
    """
    with whole_folder(output) as folder:
        drawn = one_nodule_per_patient(load_nodules()["patient"], seed)
        with progress("Writing NIfTI", len(drawn)) as on_case:
            calibration_csv, heldout_csv = (
                write_nodules(folder / "cohort", part, name, on_case=on_case)
                for part, name in (
                    (drawn[:N_CALIBRATION], "calibration.csv"),
                    (drawn[N_CALIBRATION:], "heldout.csv"),
                )
            )
        cohort, heldout = read_cohort(calibration_csv), read_cohort(heldout_csv)
        with progress("Scoring", len(cohort.cases)) as on_case:
            table = score_cohort(
                cohort,
                ScoreDefinition(tolerances=sorted_tolerances([tolerance])),
                engine=engine,
                on_case=on_case,
            )
        table.write(folder / "scores.parquet")
        calibration = calibrate_fnr(table, alpha)
        calibration.raise_if_bad()
        calibration.write(folder / "calibration.json")
        maps = {case.case_id: case.probs for case in heldout.cases}
        with progress("Predicting", len(maps)) as on_case:
            predict_folder(calibration, maps, folder / "masks", on_case=on_case)
        with progress("Evaluating", len(heldout.cases)) as on_case:
            evaluation = evaluate_cohort(
                calibration, heldout, engine=engine, on_case=on_case
            )
        write_evaluation(evaluation, folder / "evaluation")
        result = DemoResult(calibration, evaluation)
        finish(result, folder)
        return result
