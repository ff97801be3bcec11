"""What a person asks for: list, show, delete, clean, export, fetch, rebuild."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
