"""What catalog.yml and mlflow.yml may ask for: `${param:...}`, `${folder:...}`, `${study_db:}`,
`${mlflow_uri:}`, `${artifact_root:}`.

The hook registers them over the parameters of a run. Where Kedro runs no hooks (`kedro viz build`) those of
the parameter files alone serve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from thriftune.config import Parameters

Resolver = Callable[..., Any]


def resolvers(parameters: Parameters, root: Path) -> dict[str, Resolver]:
    """The resolvers over parsed parameters, for the project in `root`."""
    from omegaconf import OmegaConf

    from thriftune.databases.location import artifact_root, mlflow_uri

    dumped = parameters.model_dump()
    return {
        # OmegaConf takes containers of its own only.
        "param": lambda key: OmegaConf.create({"value": _lookup(dumped, key)})["value"],
        "folder": lambda path: _from_here(root, path),
        "study_db": lambda: OmegaConf.create({"url": parameters.tracking.optuna_url}),
        "mlflow_uri": lambda: mlflow_uri(parameters.tracking, root),
        "artifact_root": lambda: artifact_root(parameters.tracking, root),
    }


@cache
def _of_the_files() -> dict[str, Resolver]:
    from thriftune.project.parameters import load_parameters, project_root

    root = project_root()
    return resolvers(load_parameters(root), root)


OF_THE_FILES: dict[str, Resolver] = {
    name: lambda *words, name=name: _of_the_files()[name](*words)
    for name in ("param", "folder", "study_db", "mlflow_uri", "artifact_root")
}


def _lookup(parameters: Mapping[str, Any], key: str) -> Any:
    value: Any = parameters
    for part in key.split("."):
        value = value[part]
    return value


def _from_here(root: Path, path: str) -> str:
    """A folder of the project as it is reached from here: by itself in `kedro run`, which works in the
    project's, and in full in a notebook. Kedro does that for `filepath` alone."""
    return path if Path.cwd() == root else str(root / path)
