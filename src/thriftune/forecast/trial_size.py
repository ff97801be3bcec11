"""Bytes that a trial leaves beside checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import yaml

from thriftune.config import Parameters, override
from thriftune.evaluation.metrics import curves, produced_metrics
from thriftune.study.identity import save_interval
from thriftune.study.shown import trial_params
from thriftune.tracking.footprint import journal_bytes, mlflow_bytes, optuna_bytes, parent_bytes
from thriftune.tracking.keys import DEVICE_BYTES, EPOCH_SECONDS, FIGURES, TRAIN_SECONDS, VALIDATION_SECONDS
from thriftune.tracking.study_progress import PARENT_KEYS
from thriftune.training.batching import steps_per_epoch

REPORT_BYTES, FIGURE_BYTES = 2_500, 48
"""A trial's validation report without its configuration and figures; one figure in it."""


def trial_bytes(settings: Parameters, criteria: Sequence[str], train_posts: int) -> int:
    """Return the bytes of a trial beside checkpoints: configuration, journal, report, rows in the databases.

    Args:
        settings: The study's parameters.
        criteria: Names of the criteria.
        train_posts: Posts of the train split.
    """
    figures = produced_metrics(settings.model, criteria)
    logged = figures
    if settings.tracking.figures == "curves":
        logged = tuple(curves(dict.fromkeys(figures), settings.study.metric))
    training = settings.training
    steps = steps_per_epoch(train_posts, training.batch_size, training.accumulation)
    rows = {f"validation/{name}": training.epochs for name in logged}
    rows[EPOCH_SECONDS] = rows[VALIDATION_SECONDS] = rows[DEVICE_BYTES] = training.epochs
    rows |= dict.fromkeys(FIGURES, 1)
    for name in ("train/loss", "train/gradient_norm", "train/learning_rate", TRAIN_SECONDS):
        rows[name] = training.epochs * math.ceil(steps / settings.tracking.log_every_steps)
    # A budget of a fixed width: the least budget must not depend on the digits of the one that is set.
    dumped = override(settings, {"storage.max_total_size": 10**12}).model_dump(mode="json")
    report = REPORT_BYTES + FIGURE_BYTES * len(figures) + len(json.dumps(dumped, indent=2))
    databases = optuna_bytes(training.epochs // save_interval(settings))
    if settings.tracking.mlflow_uri is None:
        databases += mlflow_bytes(rows, len(trial_params(settings))) + parent_bytes(PARENT_KEYS)
    return len(yaml.safe_dump(dumped)) + report + journal_bytes(rows) + databases
