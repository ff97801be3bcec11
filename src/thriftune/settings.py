"""Kedro's settings: hooks and the configuration loader."""

from thriftune.container import in_image
from thriftune.project.hooks import ThriftuneHooks
from thriftune.project.loader import LOADER_ARGS, ConfigLoader

HOOKS = (ThriftuneHooks(),)
# In a container Kedro-Viz's statistics (.viz) would be lost, and may have no place to be written.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-viz",) if in_image() else ()
CONFIG_LOADER_CLASS = ConfigLoader
CONFIG_LOADER_ARGS = LOADER_ARGS
