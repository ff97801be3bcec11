"""What MLflow shows of a study's and a trial's configuration."""

from __future__ import annotations

from collections.abc import Mapping

from thriftune.config import Parameters
from thriftune.study.identity import flat
from thriftune.study.record import StudyRecord


def study_params(record: StudyRecord) -> dict[str, object]:
    """Return every parameter but the catalogue and the search space, and what makes it the same study.

    Args:
        record: The study's record.
    """
    config = {name: part for name, part in record.config.items() if name not in ("encoders", "search")}
    commit = record.data.revision.commit
    data = {} if commit is None else {"data_commit": commit}
    return {**flat(config), **flat(record.identity.to_json()), **data}


def trial_params(parameters: Parameters, refused: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return the parameters that may differ from trial to trial. The rest is the study's.

    Args:
        parameters: The trial's own; the study's where the trial's overrides make no configuration.
        refused: Overrides that make no configuration with these parameters, shown as they are.
    """
    dumped = parameters.model_dump(mode="json")
    shown = {name: dumped[name] for name in ("encoder", "model", "training")}
    study = {name: dumped["study"][name] for name in ("metric", "seed")}
    return flat({**shown, "study": study}) | dict(refused or {})
