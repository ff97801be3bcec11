"""Kedro's settings: hooks and the configuration loader.

Kedro imports them before any plugin, in `kedro run` as in a notebook, so the variables that libraries read
are set here.
"""

from thriftune.container import in_image
from thriftune.project.environment import set_library_options, set_time_limits
from thriftune.project.hooks import ThriftuneHooks
from thriftune.project.loader import LOADER_ARGS, ConfigLoader
from thriftune.project.resolvers import FILE_RESOLVERS

set_library_options()
set_time_limits()

HOOKS = (ThriftuneHooks(),)
# In a container Kedro-Viz's statistics (.viz) would be lost, and may have no place to be written.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-viz",) if in_image() else ()
CONFIG_LOADER_CLASS = ConfigLoader
CONFIG_LOADER_ARGS = {**LOADER_ARGS, "custom_resolvers": FILE_RESOLVERS}
