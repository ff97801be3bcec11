"""A checkpoint as a directory that works without this project."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import transformers
from pydantic import JsonValue

from thriftune import files
from thriftune.checkpoints.retention import ranked
from thriftune.checkpoints.store import CheckpointStore
from thriftune.checkpoints.stored import StoredCheckpoint
from thriftune.config import Parameters, override
from thriftune.corpus.store import CorpusStore
from thriftune.errors import ConfigError, StudyError
from thriftune.maintenance.exported_model import EXAMPLE, write_model
from thriftune.maintenance.studies import refuse_unknown_study
from thriftune.model.trainable import shape_of
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.trials import trial_row
from thriftune.study.handle import StudyHandle
from thriftune.study.storage import open_store
from thriftune.training.inputs import build_agent, encoder_for, layout_of, signature_of


def export_checkpoint(
    settings: Parameters, name: str, target: Path, trial: int | None, epoch: int | None
) -> str:
    """Write a checkpoint as a folder that works without this project.

    The folder has encoder and tokenizer as `transformers` saves them (adapters merged in), the heads, a JSON
    file of labels and shapes, and the code that predicts with them. StudyError is raised where there is no
    such checkpoint, DamageError where it is not what its manifest says.

    Args:
        settings: The project's parameters.
        name: The study's.
        target: The folder, which is missing or empty.
        trial: Its number; None: any, the best first.
        epoch: Its number; None: any, the best first.

    Returns:
        A line that says where the export is.

    Raises:
        ConfigError: The target is a file or has content.
    """
    handle = StudyHandle.from_parameters(settings, name)
    record = handle.record()
    if record is None:
        refuse_unknown_study(settings, name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        what = "the folder is not empty" if target.is_dir() else "this is a file"
        raise ConfigError(what, where=str(target), remedy="choose another.")
    parameters = record.parameters(settings.project_folder)
    store = open_store(handle.folder, handle.id, parameters.storage)
    entry = _chosen(store, trial, epoch)
    row = trial_row(OptunaStudy.open(handle, parameters).trials()[entry.manifest.trial])
    own = override(parameters, row.overrides)
    corpus = CorpusStore(own.corpus.folder).open(record.data.fingerprint)
    encoder = encoder_for(own, corpus)
    agent = build_agent(own, encoder, corpus.criteria)
    agent.load_trained(store.load_model(entry, signature_of(agent)))
    transformers.utils.logging.disable_progress_bar()
    manifest = entry.manifest
    with files.new_directory(target) as temporary:
        write_model(temporary, agent, encoder, _facts(own, entry, agent.criteria))
    return f"exported trial {manifest.trial}, epoch {manifest.epoch} to {target}; see {target / EXAMPLE}"


def _chosen(store: CheckpointStore, trial: int | None, epoch: int | None) -> StoredCheckpoint:
    fitting = [
        entry
        for entry in store.entries()
        if trial in (None, entry.manifest.trial) and epoch in (None, entry.manifest.epoch)
    ]
    order = [held.key for held in ranked(entry.info for entry in fitting)]
    fitting.sort(key=lambda entry: order.index(entry.info.key) if entry.info.key in order else len(order))
    if not fitting:
        there = [entry.info.key for entry in store.entries()]
        raise StudyError(
            "there is no such checkpoint",
            where=str(store.folder),
            remedy=f"choose one of these (trial, epoch) pairs: {there}.",
        )
    return fitting[0]


def _facts(
    parameters: Parameters, entry: StoredCheckpoint, criteria: tuple[str, ...]
) -> dict[str, JsonValue]:
    return {
        "criteria": list(criteria),
        "shape": asdict(shape_of(parameters.model)),
        "layout": asdict(layout_of(parameters, criteria)),
        "validation_metric": parameters.study.metric,
        "validation_value": entry.manifest.value,
        "trial": entry.manifest.trial,
        "epoch": entry.manifest.epoch,
        "sha256": entry.manifest.sha256,
    }
