"""Kedro's configuration loader, with a search space that is replaced and not added to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedro.config import OmegaConfigLoader

from thriftune.project.resolvers import OF_THE_FILES

LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": OF_THE_FILES,
}
"""What it is made with, by Kedro and by the commands alike."""


class ConfigLoader(OmegaConfigLoader):
    """Settings of an environment go over those of conf/base key by key; `search.space` as a whole, since
    nobody could take a key out of it, or give one another type, by adding."""

    @staticmethod
    def _soft_merge(config: dict[str, Any], env_config: dict[str, Any], env_path: str | None = None) -> Any:
        merged = OmegaConfigLoader._soft_merge(config, env_config, env_path)
        search = env_config.get("search")
        if isinstance(search, Mapping) and "space" in search:
            merged["search"]["space"] = search["space"]
        return merged
