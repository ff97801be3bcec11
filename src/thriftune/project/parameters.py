"""The project's folder and its parameters, for the commands that need no Kedro session."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException

from thriftune.config import Parameters, parse_parameters, with_credentials
from thriftune.errors import ConfigError
from thriftune.project.loader import LOADER_ARGS, ConfigLoader


def project_root() -> Path:
    """The nearest folder upwards that holds the project's pyproject.toml and conf."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "pyproject.toml").is_file() and (folder / "conf" / "base").is_dir():
            return folder
    raise ConfigError(
        f"no Thriftune project at {Path.cwd()} or above",
        remedy="change to the folder of the checkout and try again.",
    )


def load_parameters(
    root: Path,
    env: str | None = None,
    runtime: Mapping[str, Any] | None = None,
    conf_source: str | None = None,
) -> Parameters:
    """Return the parsed parameters of an environment, with --params on top.

    Args:
        root: The project's folder.
        env: None: what KEDRO_ENV names, else `local`, as Kedro has it.
        conf_source: As of `kedro run`: the folder, archive or URL of the configuration; None: the project's.

    Raises:
        ConfigError: The files cannot be read, or a parameter is wrong.
    """
    conf, env = conf_source or str(root / "conf"), env or os.environ.get("KEDRO_ENV")
    loader = ConfigLoader(conf_source=conf, env=env, runtime_params=dict(runtime or {}), **LOADER_ARGS)
    try:
        raw = dict(loader["parameters"])
    except Exception as error:
        raise ConfigError(f"the parameter files cannot be read: {error}", where=conf) from error
    where = dict(sources(root, conf, env, runtime or {}))
    return parse_parameters(with_credentials(raw, credentials_of(loader), where), root=root, where=where)


def credentials_of(loader: Any) -> Mapping[str, Any]:
    """credentials.yml as Kedro's configuration loader finds it; empty where there is none."""
    try:
        found: Mapping[str, Any] = loader["credentials"]
    except MissingConfigException:
        return {}
    return found


def sources(
    root: Path, conf_source: str, env: str | None, runtime: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """(dotted key, where it was set), later pairs winning: base, environment, --params. Of an archive or a
    URL only --params are known."""
    for folder in ("base", env or "local"):
        for path in sorted((Path(conf_source) / folder).glob("**/parameters*.y*ml")):
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            for key in leaf_keys(_read_yaml(path)):
                yield key, str(shown)
    for key in leaf_keys(runtime):
        yield key, "--params"


def leaf_keys(value: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of the leaves of a nested mapping."""
    for name, item in value.items():
        key = f"{prefix}{name}"
        if isinstance(item, Mapping) and item:
            yield from leaf_keys(item, f"{key}.")
        else:
            yield key


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    return value if isinstance(value, Mapping) else {}
