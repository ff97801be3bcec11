"""The project's folder and its parameters, for the commands that need no Kedro session."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from kedro.config import AbstractConfigLoader, MissingConfigException

from thriftune.config import Parameters, parse_parameters, with_credentials
from thriftune.errors import ConfigError
from thriftune.project.loader import LOADER_ARGS, ConfigLoader


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder, from one upwards, that has the project's pyproject.toml and conf.

    Args:
        start: The folder to start from. None: the current directory.

    Raises:
        ConfigError: There is none.
    """
    here = Path.cwd() if start is None else start.absolute()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "conf" / "base").is_dir():
            return folder
    raise ConfigError(
        f"no Thriftune project at {here} or above",
        remedy="change to the folder of the checkout and try again.",
    )


def load_parameters(
    root: Path,
    env: str | None = None,
    runtime: Mapping[str, object] | None = None,
    conf_source: str | None = None,
) -> Parameters:
    """Return the parsed parameters of an environment.

    Args:
        root: The project's folder.
        env: Name of the environment. None: what KEDRO_ENV names, else `local`, as for Kedro.
        runtime: What --params gives, nested; it goes over the files.
        conf_source: Folder, archive or URL of the configuration, as for `kedro run`. None: the project's.

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


def credentials_of(loader: AbstractConfigLoader) -> Mapping[str, object]:
    """Return credentials.yml; empty where there is none.

    Args:
        loader: Kedro's configuration loader of the run.
    """
    try:
        found: Mapping[str, object] = loader["credentials"]
    except MissingConfigException:
        return {}
    return found


def sources(
    root: Path, conf_source: str, env: str | None, runtime: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Find out where each parameter was set: in base, in the environment, by --params; later pairs win.

    Args:
        root: The project's folder; files below it are named from there.
        conf_source: The folder of the configuration. Files of an archive or a URL are not known.
        env: Name of the environment. None: `local`.
        runtime: What --params gives, nested.

    Yields:
        The dotted key of a parameter, and the file or option.
    """
    for folder in ("base", env or "local"):
        for path in sorted((Path(conf_source) / folder).glob("**/parameters*.y*ml")):
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            for key in leaf_keys(_read_yaml(path)):
                yield key, str(shown)
    for key in leaf_keys(runtime):
        yield key, "--params"


def leaf_keys(value: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Walk through the leaves of a nested mapping.

    Args:
        value: The mapping.
        prefix: What the keys begin with, its dot included.

    Yields:
        The dotted key of a leaf.
    """
    for name, item in value.items():
        key = f"{prefix}{name}"
        if isinstance(item, Mapping) and item:
            yield from leaf_keys(item, f"{key}.")
        else:
            yield key


def _read_yaml(path: Path) -> Mapping[str, object]:
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    return value if isinstance(value, Mapping) else {}
