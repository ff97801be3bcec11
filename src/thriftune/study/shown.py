"""What MLflow shows of a study's and a trial's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thriftune.config import Parameters
from thriftune.study.identity import flat


def study_params(record: Mapping[str, Any]) -> dict[str, Any]:
    """What MLflow shows of a study: every parameter but the catalogue and the search space, and what makes
    it the same study."""
    config = {name: part for name, part in record["config"].items() if name not in ("encoders", "search")}
    commit = record["data"].get("revision", {}).get("commit")
    data = {} if commit is None else {"data_commit": commit}
    return {**flat(config), **flat(record["identity"]), **data}


def trial_params(parameters: Parameters, refused: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What MLflow shows of a trial: what may differ from trial to trial. The rest is the study's.

    refused: overrides that make no configuration with these parameters, shown as they are.
    """
    dumped = parameters.model_dump(mode="json")
    shown = {name: dumped[name] for name in ("encoder", "model", "training")}
    study = {name: dumped["study"][name] for name in ("metric", "seed")}
    return flat({**shown, "study": study}) | dict(refused or {})
