from .access import Hub as Hub
from .access import Snapshot as Snapshot
from .repository import Repository as Repository
