"""Kedro's configuration loader, with a search space that is replaced and not added to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedro.config import OmegaConfigLoader

LOADER_ARGS: dict[str, str | dict[str, str]] = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}
"""Arguments of the loader, for Kedro and for the commands alike."""


class ConfigLoader(OmegaConfigLoader):
    """A loader that merges an environment's parameters into those of conf/base, except `search.space`.

    A space is replaced as a whole: by adding nobody could take a key out, or give one another type.
    """

    @staticmethod
    def _soft_merge(config: dict[str, Any], env_config: dict[str, Any], env_path: str | None = None) -> Any:
        merged = OmegaConfigLoader._soft_merge(config, env_config, env_path)
        search = env_config.get("search")
        if isinstance(search, Mapping) and "space" in search:
            merged["search"]["space"] = search["space"]
        return merged
