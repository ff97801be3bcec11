"""What catalog.yml and mlflow.yml may ask for.

They are `${param:...}`, `${folder:...}`, `${study_db:}`, `${mlflow_uri:}` and `${artifact_root:}`. The hook
registers them over the parameters of a run. Where Kedro runs no hooks (`kedro viz build`) those of the
parameter files alone serve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from omegaconf import OmegaConf

from thriftune.config import Parameters
from thriftune.databases.location import artifact_root, mlflow_uri
from thriftune.project.parameters import load_parameters, project_root

Resolver = Callable[..., object]
"""Takes the words between colon and brace."""


def make_resolvers(parameters: Parameters) -> dict[str, Resolver]:
    """Return the resolvers by name.

    Args:
        parameters: Where they take the values from. Folders are given in full, since a notebook works
            elsewhere and Kedro completes `filepath` alone.
    """
    dumped = parameters.model_dump()
    return {
        # OmegaConf takes containers of its own only.
        "param": lambda key: OmegaConf.create({"value": _lookup(dumped, key)})["value"],
        "folder": lambda path: str(parameters.resolve(path)),
        "study_db": lambda: OmegaConf.create({"url": parameters.tracking.optuna_url}),
        "mlflow_uri": lambda: mlflow_uri(parameters.tracking),
        "artifact_root": lambda: artifact_root(parameters.tracking),
    }


@cache
def _of_the_files() -> dict[str, Resolver]:
    return make_resolvers(load_parameters(project_root()))


FILE_RESOLVERS: dict[str, Resolver] = {
    name: lambda *words, name=name: _of_the_files()[name](*words)
    for name in ("param", "folder", "study_db", "mlflow_uri", "artifact_root")
}
"""Resolvers over the parameter files, which are read at the first use."""


def _lookup(parameters: Mapping[str, object], key: str) -> object:
    value: object = parameters
    for part in key.split("."):
        assert isinstance(value, Mapping), f"catalog.yml or mlflow.yml names {key}, a part of no section"
        value = value[part]
    return value
