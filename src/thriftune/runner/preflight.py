"""What can be known to be wrong with a configuration before anything is read or written."""

from __future__ import annotations

from thriftune.checkpoints.budget import least_budget_bytes, with_reserve
from thriftune.config import Parameters, suggest
from thriftune.errors import ConfigError, OutOfStorageError, StudyError
from thriftune.evaluation.metrics import PER_CRITERION, produced_metrics
from thriftune.model.encoder import check_source
from thriftune.search.storage import is_known
from thriftune.study.handle import StudyHandle
from thriftune.study.marker import marker_of
from thriftune.tracking.footprint import EMPTY_MLFLOW_BYTES, EMPTY_OPTUNA_BYTES
from thriftune.training.sources import encoder_source, hub_of, named_encoders
from thriftune.units import human_bytes


def check_configuration(parameters: Parameters) -> None:
    """Check the metric's name, the encoder and its window, the device, the save interval and the budget.

    What depends on the corpus or the model's weights is checked when those are there. UnavailableError is
    raised where an encoder's package is missing.

    Args:
        parameters: Those of the run.

    Raises:
        ConfigError: Something cannot work.
        OutOfStorageError: The budget holds no study at all.
    """
    metric = parameters.study.metric
    if PER_CRITERION not in metric:
        check_metric(metric, produced_metrics(parameters.model, ("?",)))
    for name in named_encoders(parameters):
        encoder_source(parameters, name)
    source = encoder_source(parameters)
    check_source(source, parameters.training.max_length, hub_of(parameters.corpus))
    if parameters.training.device == "cuda":
        from thriftune.training.seeding import resolve_device  # torch takes its time: only where it is asked

        resolve_device("cuda")
    epochs, interval = parameters.training.epochs, parameters.storage.min_interval_epochs
    if interval > epochs:
        raise ConfigError(
            f"expected at most training.epochs={epochs}, got {interval}: no checkpoint would be saved",
            where="storage.min_interval_epochs",
            remedy="lower it, or raise training.epochs.",
        )
    least = with_reserve(least_budget_bytes(0, 0) + EMPTY_MLFLOW_BYTES + EMPTY_OPTUNA_BYTES)
    if parameters.storage.checkpointing and parameters.storage.max_total_size < least:
        raise OutOfStorageError(
            f"a budget of {human_bytes(parameters.storage.max_total_size)} is too small for any study: "
            f"databases and reports take at least {human_bytes(least)}, and the checkpoints come on top",
            where="storage.max_total_size",
            remedy="raise it; `thriftune storage forecast` says how much this study needs.",
        )


def check_metric(metric: str, produced: tuple[str, ...]) -> None:
    """Raise, with the nearest name, unless validation makes the metric.

    Args:
        metric: Its dotted name.
        produced: The names of all metrics.

    Raises:
        ConfigError: There is no such metric.
    """
    if metric not in produced:
        raise ConfigError(
            f"validation computes no metric {metric!r}{suggest(metric, produced)}",
            where="study.metric",
            remedy="choose one such as "
            + ", ".join(name for name in produced if PER_CRITERION not in name and "f1" in name),
        )


def require_mounted(study: StudyHandle) -> None:
    """Raise where Optuna knows the study and the store's root does not: its volume may not be mounted.

    Nothing is created and nothing deleted.

    Args:
        study: The study.

    Raises:
        StudyError: The study's folder is not there.
    """
    if study.record() is not None or not is_known(study):
        return
    marker = marker_of(study.models_root, study.id)
    raise StudyError(
        f"the study {study.name!r} has trials on record, but "
        + (
            "its folder is gone"
            if marker.exists()
            else "storage.root has never held it: is its volume mounted?"
        ),
        where=str(marker),
        remedy="mount it, or restore it, and run the same command again. If it was removed on purpose: "
        f"`thriftune study delete {study.name} --yes`.",
    )
