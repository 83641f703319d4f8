"""A calibration against cases with references."""

from coverax.evaluate.compute import Evaluation as Evaluation
from coverax.evaluate.compute import evaluate_cohort as evaluate_cohort
from coverax.evaluate.folds import evaluate_folds as evaluate_folds
from coverax.evaluate.groups import evaluate_groups as evaluate_groups
from coverax.evaluate.metrics import CaseMetrics as CaseMetrics
from coverax.evaluate.metrics import case_metrics as case_metrics
from coverax.evaluate.write import fill_evaluation as fill_evaluation
from coverax.evaluate.write import write_evaluation as write_evaluation
