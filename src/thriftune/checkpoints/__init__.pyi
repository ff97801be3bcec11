from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import Receipt as Receipt
from .entries import Entry as Entry
from .entries import Loaded as Loaded
from .manifest import Manifest as Manifest
from .retention import Policy as Policy
from .retention import plan as plan
from .store import CheckpointStore as CheckpointStore
