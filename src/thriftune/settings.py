"""Kedro's settings: hooks and the configuration loader."""

from kedro.config import OmegaConfigLoader

from thriftune.hooks import ThriftuneHooks

HOOKS = (ThriftuneHooks(),)
CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}
