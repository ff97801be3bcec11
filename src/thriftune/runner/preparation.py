"""What a run checks and computes before it touches the study."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thriftune.corpus.tokens import check_layout
from thriftune.evaluation.metrics import produced_metrics
from thriftune.forecast.corpus_size import CorpusSize
from thriftune.forecast.estimate import StudyForecast, forecast_inputs, forecast_study
from thriftune.forecast.model_size import model_bytes
from thriftune.forecast.shown import forecast_summary
from thriftune.runner.preflight import check_configuration, check_metric, require_mounted
from thriftune.study.identity import StudyIdentity, study_identity
from thriftune.study.record import recorded_threads
from thriftune.training.inputs import encoder_for, layout_of
from thriftune.training.seeding import configure_determinism, resolve_device, warn_of_cpu

if TYPE_CHECKING:
    import torch

    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus
    from thriftune.model.encoder import Encoder
    from thriftune.study.handle import StudyHandle

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """A run whose configuration was checked."""

    parameters: Parameters
    corpus: Corpus
    device: torch.device
    identity: StudyIdentity
    forecast: StudyForecast | None
    """What the study will hold; None where that was not computed again."""


def prepare(
    parameters: Parameters, corpus: Corpus, study: StudyHandle, store: CheckpointStore
) -> Preparation:
    """Check the configuration, make torch deterministic, and make sure that the budget holds the study.

    ConfigError is raised for a configuration that cannot work, UnavailableError where the encoder or a server
    cannot be reached, OutOfStorageError where the budget does not hold the study, StudyError where the
    store's volume is not mounted.

    Args:
        parameters: Those of the run.
        corpus: The corpus to train on.
        study: The study, which may not be there yet.
        store: Its checkpoints.

    Returns:
        The run, ready to start.
    """
    check_configuration(parameters)
    check_metric(parameters.study.metric, produced_metrics(parameters.model, corpus.criteria))
    require_mounted(study)
    device = resolve_device(parameters.training.device)
    warn_of_cpu(parameters.training.device)
    threads = recorded_threads(study.folder, parameters.training.threads)
    configure_determinism(threads, device)
    encoder = encoder_for(parameters, corpus)
    check_layout(encoder.tokenizer, layout_of(parameters, corpus.criteria))
    forecast = _require_budget(parameters, corpus, encoder, study, store)
    return Preparation(
        parameters,
        corpus,
        device,
        study_identity(parameters, corpus.fingerprint, encoder.fingerprint, device.type, threads),
        forecast,
    )


def _require_budget(
    parameters: Parameters, corpus: Corpus, encoder: Encoder, study: StudyHandle, store: CheckpointStore
) -> StudyForecast | None:
    is_new = study.record() is None
    if not parameters.storage.checkpointing or not (is_new or study.is_parallel):
        return None
    weights = model_bytes(parameters, corpus, encoder)
    size = CorpusSize.from_corpus(corpus)
    forecast = forecast_study(parameters, forecast_inputs(parameters, size, weights))
    store.require_budget(forecast.least_budget_bytes)
    if is_new:
        log.info("%s", forecast_summary(forecast))
    return forecast
