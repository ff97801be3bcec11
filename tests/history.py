"""A study with a past: finished trials whose folders and journals are those of a real one, with
configurations and values of their own."""

from __future__ import annotations

import json
import random

import optuna
import yaml

from thriftune.config import Parameters, override
from thriftune.databases.location import mlflow_uri
from thriftune.search.space import sample
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import trial_id
from thriftune.study.layout import CONFIG, JOURNAL, REPORT, trial_folder
from thriftune.tracking.cursor import Cursor, line_checksum, write_cursor
from thriftune.tracking.parent import connect
from thriftune.tracking.records import encode, read_records


def lengthen(parameters: Parameters, study: StudyHandle, trials: int) -> None:
    """Let the study, whose trials 0 to n were run, have `trials` of them; MLflow counts as having them all.

    A search that is started on it restores them to Optuna from their journals. No value reaches that of the
    study's best, so that the checkpoint that is kept stays the best.
    """
    journals = sorted(study.folder.glob(f"trials/*/{JOURNAL}"))
    records = [record for record, _ in read_records(journals[0])]
    report = json.loads(journals[0].with_name(REPORT).read_text(encoding="utf-8"))
    uri = mlflow_uri(parameters.tracking)
    parent = connect(parameters).parent_run(study.id, study.name)
    for number in range(len(journals), trials):
        drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number)).ask()
        overrides = sample(drawn, parameters.search.space, parameters.model_dump())
        own = override(parameters, overrides)
        folder = trial_folder(study.folder, number, trial_id(own))
        (folder / "checkpoints").mkdir(parents=True)
        (folder / CONFIG).write_text(yaml.safe_dump(own.model_dump(mode="json"), sort_keys=False))
        told = {**report, "trial": number, "trial_id": trial_id(own), "config": own.model_dump(mode="json")}
        (folder / REPORT).write_text(json.dumps(told, indent=2))
        journal = folder / JOURNAL
        share = random.Random(number).random()
        journal.write_bytes(
            b"".join(encode(_of(record, number, own, overrides, share)) for record in records)
        )
        end = journal.stat().st_size
        write_cursor(journal, Cursor(uri, parent, end, line_checksum(journal, end), closed=True))


def _of(
    record: dict[str, object], number: int, own: Parameters, overrides: dict[str, object], share: float
) -> dict[str, object]:
    """The record as this trial's journal has it; the metric shrinks by a share."""
    kind, value = record.get("kind"), record.get("value")
    if kind == "start":
        return {**record, "trial": number, "trial_id": trial_id(own), "overrides": overrides}
    if (kind == "end" or record.get("key") == f"validation/{own.study.metric}") and isinstance(value, float):
        return {**record, "value": value * share}
    return record
