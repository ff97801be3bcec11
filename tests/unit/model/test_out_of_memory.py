"""What says that memory ran out."""

from __future__ import annotations

import errno

import pytest
import torch

from thriftune.model.out_of_memory import is_out_of_memory

pytestmark = pytest.mark.unit


def test_torch_is_understood_on_the_cpu() -> None:
    """More than any machine has: torch raises a RuntimeError that is no OutOfMemoryError."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert not isinstance(caught.value, torch.OutOfMemoryError)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    """By type, by error number, and among RuntimeErrors by what they say."""
    assert is_out_of_memory(error) is expected
