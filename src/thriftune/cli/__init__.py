"""Commands: options, exit codes, tables. Kedro looks here for `cli`, the console script for `main`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
