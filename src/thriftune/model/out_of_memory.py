"""Recognition of errors that mean that memory has run out.

The module imports no torch, because the configuration is checked before the first node.
"""

from __future__ import annotations

import errno

from safetensors import SafetensorError

PHRASES = ("can't allocate memory", "cannot allocate memory", "out of memory", "alloc_failed")
"""Parts of the messages of torch's allocators, CUDA's libraries and the system; in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory has run out, on any device.

    Args:
        error: Python's MemoryError, torch.OutOfMemoryError, an OSError with ENOMEM and a RuntimeError of
            torch's CPU allocator count; nothing else does.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError | SafetensorError) and any(phrase in said for phrase in PHRASES)
