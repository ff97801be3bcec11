"""Kedro's settings: hooks and the configuration loader."""

from kedro.config import OmegaConfigLoader

from thriftune.hooks import ThriftuneHooks
from thriftune.resolvers import OF_THE_FILES

HOOKS = (ThriftuneHooks(),)
CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": OF_THE_FILES,
}
