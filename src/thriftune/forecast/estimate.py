"""What the configured study will hold, write and save, before it starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from thriftune import files
from thriftune.checkpoints.budget import worker_bytes
from thriftune.config import Parameters
from thriftune.corpus.ingestion import ingested
from thriftune.corpus.store import CorpusStore
from thriftune.databases.location import MLFLOW_DATABASE, OPTUNA_DATABASE
from thriftune.errors import DataError
from thriftune.evaluation.examples import KINDS
from thriftune.forecast.corpus_size import CorpusSize, assumed_size
from thriftune.forecast.model_size import assumed_model_bytes, model_bytes
from thriftune.forecast.simulation import Workload, forecast
from thriftune.forecast.trial_size import trial_bytes
from thriftune.study.storage import retention_policy
from thriftune.tracking.footprint import (
    EMPTY_MLFLOW_BYTES,
    EMPTY_OPTUNA_BYTES,
    MLFLOW_LOG_BYTES,
    OPTUNA_LOG_BYTES,
)
from thriftune.training.optimisation import configured_values, optimizer_slots
from thriftune.units import human_bytes

log = logging.getLogger(__name__)

FACTS_BYTES, STATE_BYTES = 12_000, 20_000
"""Manifest and header of a checkpoint; generators, counters and the optimizer's header beside them."""
TOKENS_PER_CORPUS_BYTE, WITH_RANGES = 2.6, 4.1
"""Bytes of tokenised splits per byte of ingested ones, measured on the sample; the same with each token's
characters."""
PREDICTION_BYTES_PER_CRITERION, PREDICTION_BYTES, EVALUATION_BYTES = 110, 700, 120_000
"""A post in predictions.jsonl; evaluation.json with the page."""
PAGE_BYTES_PER_TRIAL, QUOTE_BYTES = 400, 2_500
"""A trial in the charts and tables of report.html; a post that it quotes."""


@dataclass(frozen=True)
class ForecastInputs:
    """What the forecast takes from the model, the corpus and the disk."""

    model_bytes: int
    """Weights of one checkpoint."""
    criteria: Sequence[str]
    train_posts: int
    fixed_bytes: int
    """What counts against the budget beside trials: corpora, tokens, databases without this study's rows."""


@dataclass(frozen=True)
class StudyForecast:
    """What a configured study will hold and write; in bytes unless the name says otherwise."""

    model_bytes: int
    """Weights of one checkpoint."""
    trials: int
    budget_bytes: int
    least_budget_bytes: int
    """A smaller budget is refused before the first step; with the share that is kept in reserve."""
    most_bytes: int
    written_bytes: int
    keep_all_bytes: int
    fits: bool
    most_at_trial: int
    """The trial in which the most is held; counts from 0."""
    most_at_epoch: int
    fixed_bytes: int
    bytes_per_trial: int
    """What each trial adds beside checkpoints."""
    further_worker_bytes: int
    """What the budget needs for each further worker."""


def forecast_inputs(settings: Parameters, size: CorpusSize, model_bytes: int) -> ForecastInputs:
    """Return what the forecast takes from a corpus and from what is on the disk already.

    Args:
        settings: The study's parameters.
        size: The corpus, ingested or assumed.
        model_bytes: Weights of one checkpoint.
    """
    tracking = settings.tracking.folder
    tokens = files.directory_bytes(settings.corpus.cache_folder)
    tables = files.directory_bytes(settings.corpus.folder)
    databases = _database(tracking / OPTUNA_DATABASE, EMPTY_OPTUNA_BYTES) + OPTUNA_LOG_BYTES
    if settings.tracking.mlflow_uri is None:
        databases += _database(tracking / MLFLOW_DATABASE, EMPTY_MLFLOW_BYTES) + MLFLOW_LOG_BYTES
    read = size.split_bytes["train"] + size.split_bytes["validation"]
    if size.assumed:
        tables += sum(size.split_bytes.values())
    tokens = max(tokens, round(_tokens_per_byte(settings) * read))
    fixed_bytes = tables + tokens + databases + evaluation_bytes(size, settings)
    return ForecastInputs(model_bytes, size.criteria, size.posts["train"], fixed_bytes)


def evaluation_bytes(size: CorpusSize, settings: Parameters) -> int:
    """Return the bytes that the test evaluation writes: tokens of the test split, predictions, page.

    Args:
        size: The corpus, ingested or assumed.
        settings: The study's parameters.
    """
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


def configured_inputs(settings: Parameters, weights: int | None = None) -> ForecastInputs:
    """Return what the forecast takes from the configured model and corpus.

    Where that corpus was not ingested yet, the one that was last is taken; where there is none, one of an
    assumed size. The log says so in both cases.

    Args:
        settings: The study's parameters.
        weights: Bytes of the model's weights; None: those of the configured encoder and agents.
    """
    store = CorpusStore(settings.corpus.folder)
    try:
        corpus = ingested(settings.corpus, store)
        if corpus is None:
            corpus = store.current()
            if settings.corpus.source != "hub":  # which is not asked whether it is the same
                log.warning(
                    "the configured corpus was not ingested yet; this forecast takes the last one, %s",
                    corpus.fingerprint[:12],
                )
        size = CorpusSize.of(corpus)
    except DataError:
        corpus, size = None, assumed_size(settings.corpus)
        log.warning(
            "no corpus has been ingested yet; assumed %s. After `kedro run --pipeline ingest` it is exact",
            size.assumed,
        )
    if weights is None:
        weights = model_bytes(settings, corpus) if corpus else assumed_model_bytes(settings, size.criteria)
    return forecast_inputs(settings, size, weights)


def study_workload(settings: Parameters, inputs: ForecastInputs) -> Workload:
    """Return the configured study as the simulation takes it.

    Args:
        settings: The study's parameters.
        inputs: Its model, corpus and disk.
    """
    weights = inputs.model_bytes
    return Workload(
        trials=settings.study.trials,
        saves_per_trial=settings.training.epochs // settings.storage.min_interval_epochs,
        model_bytes=weights + FACTS_BYTES,
        resumable_bytes=(1 + optimizer_slots(settings)) * weights + FACTS_BYTES + STATE_BYTES,
        other_bytes=inputs.fixed_bytes,
        other_bytes_per_trial=trial_bytes(settings, inputs.criteria, inputs.train_posts),
    )


def forecast_study(settings: Parameters, inputs: ForecastInputs) -> StudyForecast:
    """Return what the configured study will hold and write.

    Args:
        settings: The study's parameters.
        inputs: Its model, corpus and disk.
    """
    storage, work = settings.storage, study_workload(settings, inputs)
    found = forecast(work, retention_policy(storage), storage.max_total_size)
    trial, save = found.most_at
    return StudyForecast(
        model_bytes=inputs.model_bytes,
        trials=work.trials,
        budget_bytes=storage.max_total_size,
        least_budget_bytes=found.least_budget_bytes,
        most_bytes=found.most_bytes,
        written_bytes=found.written_bytes,
        keep_all_bytes=found.keep_all_bytes,
        fits=found.fits,
        most_at_trial=trial,
        most_at_epoch=(save + 1) * storage.min_interval_epochs,
        fixed_bytes=work.other_bytes,
        bytes_per_trial=work.other_bytes_per_trial,
        further_worker_bytes=worker_bytes(work.resumable_bytes),
    )


TITLES = {
    "model_bytes": "model weights in a checkpoint",
    "trials": "trials",
    "budget_bytes": "budget (storage.max_total_size)",
    "least_budget_bytes": "smallest budget that would do, with its reserve",
    "most_bytes": "most bytes on disk at once",
    "most_at_trial": "  in trial",
    "most_at_epoch": "  after epoch",
    "fixed_bytes": "  of which corpora, tokens, databases",
    "bytes_per_trial": "  and each trial, beside checkpoints",
    "written_bytes": "checkpoint bytes written in total",
    "keep_all_bytes": "bytes on disk if every checkpoint were kept",
    "fits": "fits the budget",
    "further_worker_bytes": "budget for each further worker",
}
"""Titles of a forecast's fields, in the order of the table."""


def forecast_table(found: StudyForecast) -> dict[str, str]:
    """Return a forecast as titles and values for people.

    Args:
        found: The forecast.
    """
    values = asdict(found)
    shown = {key: human_bytes(value) if "bytes" in key else str(value) for key, value in values.items()}
    shown["fits"] = "yes" if found.fits else "no"
    return {title: shown[key] for key, title in TITLES.items()}


def forecast_summary(found: StudyForecast) -> str:
    """Return the conclusion of a forecast in one line.

    Args:
        found: The forecast.
    """
    budget, most = human_bytes(found.budget_bytes), human_bytes(found.most_bytes)
    if not found.fits:
        return (
            f"storage: a budget of {budget} is too small for this study; it needs at least "
            f"{human_bytes(found.least_budget_bytes)}, and would hold up to {most}"
        )
    return (
        f"storage: at most {most} of {budget} will be held, {human_bytes(found.written_bytes)} written in "
        f"all; keeping everything would take {human_bytes(found.keep_all_bytes)}"
    )
