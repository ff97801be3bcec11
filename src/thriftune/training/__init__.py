"""Training one configuration: a generator of checkpoints that knows nothing of disks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
