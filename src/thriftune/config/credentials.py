"""URLs with passwords, which come from credentials.yml and from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thriftune.config.urls import without_password
from thriftune.errors import ConfigError

PLACES = {"mlflow_uri": ("mlflow", "uri"), "optuna_url": ("study_db", "url")}
"""Section and key of credentials.yml for each key of `tracking`."""
FILE = "conf/local/credentials.yml"


def with_credentials(
    raw: Mapping[str, Any], credentials: Mapping[str, object], where: Mapping[str, str]
) -> dict[str, Any]:
    """Return the raw parameters with the URLs of credentials.yml in their places.

    Args:
        raw: The parameters, as the parameter files and --params give them.
        credentials: credentials.yml; empty where there is none.
        where: The file or option that set a dotted key; shown with a mistake.

    Raises:
        ConfigError: A password is in a parameter file or in --params, where logs and records would show
            it; or credentials.yml has another form.
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


def _secret(credentials: Mapping[str, object], section: str, name: str) -> str | None:
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
