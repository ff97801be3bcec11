"""URLs with passwords: from credentials.yml and from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thriftune.config.urls import without_password
from thriftune.errors import ConfigError

PLACES = {"mlflow_uri": ("mlflow", "uri"), "optuna_url": ("study_db", "url")}
"""Key of `tracking`: where credentials.yml has it."""
FILE = "conf/local/credentials.yml"


def with_credentials(
    raw: Mapping[str, Any], credentials: Mapping[str, Any], where: Mapping[str, str]
) -> dict[str, Any]:
    """The raw parameters with the URLs of credentials.yml in their places.

    ConfigError for a password that stands in a parameter file or in --params, where logs and records would
    show it. where: as of parse_parameters.
    """
    tracking = dict(raw.get("tracking") or {})
    for key, (section, name) in PLACES.items():
        value = tracking.get(key)
        if isinstance(value, str) and without_password(value) != value:
            raise ConfigError(
                f"tracking.{key} holds a password",
                where=where.get(f"tracking.{key}", "the parameters"),
                remedy=f"move it to {FILE}, which git ignores: `{section}: {{{name}: ...}}`.",
            )
        secret = _secret(credentials, section, name)
        if secret is not None:
            tracking[key] = secret
    return {**raw, "tracking": tracking}


def _secret(credentials: Mapping[str, Any], section: str, name: str) -> str | None:
    found = credentials.get(section)
    if found is None:
        return None
    value = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(value, str) or (isinstance(found, Mapping) and set(found) != {name}):
        raise ConfigError(
            f"{section} needs one key, {name}, with a URL",
            where=FILE,
            remedy=f"write `{section}: {{{name}: postgresql://user:password@host/database}}`.",
        )
    return value
