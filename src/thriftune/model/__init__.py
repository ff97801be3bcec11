"""The dual agent: a shared encoder, a criteria agent and an evidence agent. Torch only."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
