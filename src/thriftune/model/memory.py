"""Whether an error says that memory ran out, whoever noticed it."""

from __future__ import annotations

import errno

import torch
from safetensors import SafetensorError

PHRASES = ("can't allocate memory", "cannot allocate memory", "out of memory", "alloc_failed")
"""What torch's allocators, CUDA's libraries and the system say; in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Python's MemoryError, CUDA's own error, ENOMEM, and torch's RuntimeError on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError | SafetensorError) and any(phrase in said for phrase in PHRASES)
