"""Whether an error says that memory ran out, whoever noticed it.

Imports no torch: the configuration is checked before the first node.
"""

from __future__ import annotations

import errno

from safetensors import SafetensorError

PHRASES = ("can't allocate memory", "cannot allocate memory", "out of memory", "alloc_failed")
"""What torch's allocators, CUDA's libraries and the system say; in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Python's MemoryError, torch.OutOfMemoryError, ENOMEM, and torch's RuntimeError on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError | SafetensorError) and any(phrase in said for phrase in PHRASES)
