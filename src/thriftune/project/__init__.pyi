from .environment import set_library_options as set_library_options
from .hooks import ThriftuneHooks as ThriftuneHooks
from .loader import ConfigLoader as ConfigLoader
from .parameters import load_parameters as load_parameters
from .parameters import project_root as project_root
from .resolvers import make_resolvers as make_resolvers
