"""What the configured study will hold, write and save, before it starts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from thriftune import files
from thriftune.checkpoints.disk import worker_bytes
from thriftune.checkpoints.retention import Policy
from thriftune.config import Parameters, override
from thriftune.corpus.ingestion import ingested
from thriftune.corpus.store import CorpusStore
from thriftune.databases.location import MLFLOW_DATABASE, OPTUNA_DATABASE
from thriftune.errors import DataError
from thriftune.evaluation.examples import KINDS
from thriftune.evaluation.metrics import curves, produced_metrics
from thriftune.forecast.corpus_size import CorpusSize, assumed_size
from thriftune.forecast.model_size import assumed_model_bytes, model_bytes
from thriftune.forecast.simulation import Workload, forecast
from thriftune.study.identity import save_interval
from thriftune.study.shown import trial_params
from thriftune.tracking.footprint import (
    EMPTY_MLFLOW_BYTES,
    EMPTY_OPTUNA_BYTES,
    MLFLOW_LOG_BYTES,
    OPTUNA_LOG_BYTES,
    journal_bytes,
    mlflow_bytes,
    optuna_bytes,
    parent_bytes,
)
from thriftune.tracking.keys import DEVICE_BYTES, EPOCH_SECONDS, FIGURES, TRAIN_SECONDS, VALIDATION_SECONDS
from thriftune.tracking.study_progress import PARENT_KEYS
from thriftune.training.batching import steps_per_epoch
from thriftune.training.optimisation import configured_values, moments
from thriftune.units import human_bytes

log = logging.getLogger(__name__)

FACTS_BYTES, STATE_BYTES = 12_000, 20_000
"""Manifest and header of a checkpoint; generators, counters and the optimizer's header beside it."""
TOKENS_PER_CORPUS_BYTE, WITH_RANGES = 2.6, 4.1
"""Tokenised splits against the ingested ones, as measured on the sample; where each token's characters are
kept."""
REPORT_BYTES, FIGURE_BYTES = 2_500, 48
"""A trial's validation report beside its configuration: as such, and a figure."""
PREDICTION_BYTES_PER_CRITERION, PREDICTION_BYTES, EVALUATION_BYTES = 110, 700, 120_000
"""Of predictions.jsonl a post; of evaluation.json and the page."""
PAGE_BYTES_PER_TRIAL, QUOTE_BYTES = 400, 2_500
"""Of report.html: a trial in its charts and tables; a post that it quotes."""


@dataclass(frozen=True)
class Surroundings:
    """What the forecast takes from the corpus and the disk."""

    criteria: Sequence[str]
    train_posts: int
    fixed_bytes: int
    """What counts against the budget beside trials: corpora, tokens, databases without this study's rows."""


def surroundings(settings: Parameters, root: Path, size: CorpusSize) -> Surroundings:
    """Return what the forecast takes from a corpus of that size and from what is on the disk already."""
    cache, tracking = root / settings.corpus.cache, root / settings.tracking.root
    tokens, tables = files.directory_bytes(cache), files.directory_bytes(root / settings.corpus.root)
    databases = _database(tracking / OPTUNA_DATABASE, EMPTY_OPTUNA_BYTES) + OPTUNA_LOG_BYTES
    if settings.tracking.mlflow_uri is None:
        databases += _database(tracking / MLFLOW_DATABASE, EMPTY_MLFLOW_BYTES) + MLFLOW_LOG_BYTES
    read = size.split_bytes["train"] + size.split_bytes["validation"]
    if size.assumed:
        tables += sum(size.split_bytes.values())
    return Surroundings(
        size.criteria,
        size.posts["train"],
        tables
        + max(tokens, round(_tokens_per_byte(settings) * read))
        + databases
        + evaluation_bytes(size, settings),
    )


def evaluation_bytes(size: CorpusSize, settings: Parameters) -> int:
    """What the test evaluation writes: the test split's tokens, predictions, evaluation and page."""
    tokens = _tokens_per_byte(settings) * size.split_bytes["test"]
    per_post = PREDICTION_BYTES_PER_CRITERION * len(size.criteria) + PREDICTION_BYTES
    quotes = QUOTE_BYTES * settings.evaluation.examples * len(KINDS) * len(size.criteria)
    page = PAGE_BYTES_PER_TRIAL * settings.study.trials + quotes
    return round(tokens) + size.posts["test"] * per_post + EVALUATION_BYTES + page


def _tokens_per_byte(settings: Parameters) -> float:
    kinds = configured_values(settings, "model.evidence_agent.kind", settings.model.evidence_agent.kind)
    return TOKENS_PER_CORPUS_BYTE if kinds == {"sentence"} else WITH_RANGES


def _database(path: Path, empty_bytes: int) -> int:
    size = path.stat().st_size if path.exists() else 0
    return max(size, empty_bytes)


def configured(settings: Parameters, root: Path, weights: int | None) -> tuple[int, Surroundings]:
    """Return the bytes of the model and its surroundings from the configuration.

    On the configured corpus; where that was not ingested yet, on the one that was last; where there is none,
    on one of a size that is assumed, which the log says.

    Args:
        weights: Bytes of the model where they are given; else those of the configured encoder and agents.
    """
    store = CorpusStore(root / settings.corpus.root)
    try:
        corpus = ingested(settings.corpus, store)
        if corpus is None:
            corpus = store.current()
            if settings.corpus.source != "hub":  # which is not asked whether it is the same
                log.warning(
                    "the configured corpus was not ingested yet: this is of the last one, %s",
                    corpus.fingerprint[:12],
                )
        size = CorpusSize.of(corpus)
    except DataError:
        corpus, size = None, assumed_size(settings.corpus, root)
        log.warning(
            "no corpus has been ingested yet; assumed %s. After `kedro run --pipeline ingest` it is exact",
            size.assumed,
        )
    if weights is None:
        weights = model_bytes(settings, corpus) if corpus else assumed_model_bytes(settings, size.criteria)
    return weights, surroundings(settings, root, size)


def trial_bytes(settings: Parameters, around: Surroundings) -> int:
    """What one trial leaves beside checkpoints: configuration, journal, report, rows in the databases."""
    figures = produced_metrics(settings.model, around.criteria)
    logged = figures
    if settings.tracking.figures == "curves":
        logged = tuple(curves(dict.fromkeys(figures), settings.study.metric))
    training = settings.training
    steps = steps_per_epoch(around.train_posts, training.batch_size, training.accumulation)
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
        databases += mlflow_bytes(rows, trial_params(settings)) + parent_bytes(PARENT_KEYS)
    return len(yaml.safe_dump(dumped)) + report + journal_bytes(rows) + databases


def forecast_row(settings: Parameters, weights: int, around: Surroundings) -> dict[str, Any]:
    """The forecast of the configured study for a model of so many bytes."""
    storage = settings.storage
    work = Workload(
        trials=settings.study.trials,
        saves_per_trial=settings.training.epochs // storage.min_interval_epochs,
        model_bytes=weights + FACTS_BYTES,
        resumable_bytes=(1 + moments(settings)) * weights + FACTS_BYTES + STATE_BYTES,
        other_bytes=around.fixed_bytes,
        other_bytes_per_trial=trial_bytes(settings, around),
    )
    policy = Policy.of(storage)
    found = asdict(forecast(work, policy, storage.max_total_size))
    trial, save = found.pop("most_at")
    return {
        "model_bytes": weights,
        "trials": work.trials,
        "budget_bytes": storage.max_total_size,
        **found,
        "most_at_trial": trial,
        "most_at_epoch": (save + 1) * storage.min_interval_epochs,
        "fixed_bytes": work.other_bytes,
        "bytes_per_trial": work.other_bytes_per_trial,
        "further_worker_bytes": worker_bytes(work.resumable_bytes),
    }


WORDS = {
    "model_bytes": "a checkpoint's weights",
    "trials": "trials",
    "budget_bytes": "budget (storage.max_total_size)",
    "least_budget_bytes": "least budget that would do, with what it keeps in reserve",
    "most_bytes": "held at most",
    "most_at_trial": "  in trial",
    "most_at_epoch": "  after epoch",
    "fixed_bytes": "  of that corpora, tokens, databases",
    "bytes_per_trial": "  and of each trial, beside checkpoints",
    "written_bytes": "written in all",
    "keep_all_bytes": "held if every checkpoint were kept",
    "fits": "fits the budget",
    "further_worker_bytes": "budget for each further worker",
}
"""Of a forecast's row, in the order in which a person reads them."""


def forecast_words(row: Mapping[str, Any]) -> dict[str, str]:
    """A forecast's row for people."""
    shown = {key: human_bytes(value) if "bytes" in key else str(value) for key, value in row.items()}
    shown["fits"] = "yes" if row["fits"] else "no"
    return {words: shown[key] for key, words in WORDS.items()}


def forecast_line(row: dict[str, Any]) -> str:
    """The forecast's conclusion in one line."""
    human = human_bytes
    if not row["fits"]:
        return (
            f"storage: a budget of {human(row['budget_bytes'])} does not hold this study to its end; "
            f"at least {human(row['least_budget_bytes'])} are needed, at most "
            f"{human(row['most_bytes'])} would be held"
        )
    return (
        f"storage: at most {human(row['most_bytes'])} of {human(row['budget_bytes'])} will be held, "
        f"{human(row['written_bytes'])} written in all; keeping everything would take "
        f"{human(row['keep_all_bytes'])}"
    )
