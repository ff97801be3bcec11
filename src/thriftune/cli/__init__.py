"""The commands: `kedro run` with its checks, and `thriftune`.

A user's mistake ends every command with one message and an exit code, and no traceback. A command imports
what it needs when it is called, so `thriftune --help` is quick. Kedro looks here for `cli`, and the console
script for `main`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
