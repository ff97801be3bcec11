"""Kedro's settings: hooks and the configuration loader."""

from thriftune.hooks import ThriftuneHooks
from thriftune.loader import ConfigLoader
from thriftune.resolvers import OF_THE_FILES

HOOKS = (ThriftuneHooks(),)
CONFIG_LOADER_CLASS = ConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": OF_THE_FILES,
}
