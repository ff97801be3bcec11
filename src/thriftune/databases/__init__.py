"""SQLite and PostgreSQL: how they are opened, whether they answer, locks in them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
