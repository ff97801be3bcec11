"""A study on disk: its record, its identity, its folders, and who owns it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
