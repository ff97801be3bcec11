"""One process at work on one study: trials, limits, failures, and the test evaluation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
