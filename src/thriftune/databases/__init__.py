"""SQLite and PostgreSQL, as tracking, search and study use them.

A SQLite database is complete or absent, and its write-ahead log stays short. `unavailable_reason` says why a
store cannot be used before anything depends on it. A PostgreSQL server may be restarted: connections notice a
cut within seconds, and calls are repeated until the server answers. Advisory locks make processes on several
machines take turns.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
