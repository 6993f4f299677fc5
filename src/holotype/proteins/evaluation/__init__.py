"""Evaluation: how good predictions are, how sure that is, and whether a baseline is as good."""

from holotype.extras import missing_extra

try:
    import numpy as _numpy  # noqa: F401  # nothing here works without it
except ModuleNotFoundError as _error:
    raise missing_extra(_error, "evaluation") or _error from _error

from holotype.proteins.evaluation.baselines import BASELINES, baseline_scores
from holotype.proteins.evaluation.bootstrap import bootstrap_intervals
from holotype.proteins.evaluation.calibration import apply_temperature, fit_temperature, reliability
from holotype.proteins.evaluation.compare import Comparison, compare_runs
from holotype.proteins.evaluation.evaluate import evaluate_file, evaluate_model, evaluate_predictions
from holotype.proteins.evaluation.metrics import (
    METRICS,
    auroc,
    average_precision,
    binary_metrics,
    precision_at_k,
)
from holotype.proteins.evaluation.predictions import Predictions, read_predictions, write_predictions
from holotype.proteins.evaluation.report import write_report
from holotype.proteins.evaluation.results import Evaluation

__all__ = [
    "BASELINES",
    "METRICS",
    "Comparison",
    "Evaluation",
    "Predictions",
    "apply_temperature",
    "auroc",
    "average_precision",
    "baseline_scores",
    "binary_metrics",
    "bootstrap_intervals",
    "compare_runs",
    "evaluate_file",
    "evaluate_model",
    "evaluate_predictions",
    "fit_temperature",
    "precision_at_k",
    "read_predictions",
    "reliability",
    "write_predictions",
    "write_report",
]
