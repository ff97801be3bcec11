"""Copies of a trial's tensors, so that they can be written while training changes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import psutil
import torch

from thriftune.checkpoints.tensors import tensor_bytes
from thriftune.units import human_bytes

log = logging.getLogger(__name__)

SPARE_SHARE = 0.1
"""Share of the available memory that is left to other programs."""

Tensors = Mapping[str, torch.Tensor]


class Snapshots:
    """Copies of a trial's tensors in CPU buffers that are allocated once.

    If the copy does not fit into memory, or overlap is off, the live tensors are handed on: they must be
    written before training continues.
    """

    def __init__(self, overlap: bool) -> None:
        """Allocate nothing yet.

        Args:
            overlap: Whether to copy, so that writing can overlap training.
        """
        self._overlap = overlap
        self._buffers: dict[str, torch.Tensor] = {}

    def take(self, model: Tensors, optimizer: Tensors) -> tuple[Tensors, Tensors, bool]:
        """Return the model's and the optimizer's tensors, and whether they are copies.

        Args:
            model: Live tensors by name.
            optimizer: Live tensors by name.

        Returns:
            Copies that are overwritten by the next call, or the live tensors.
        """
        if self._overlap and not self._buffers:
            self._overlap = _fits(tensor_bytes(model) + tensor_bytes(optimizer))
        if not self._overlap:
            return model, optimizer, False
        copies = self._copy("model", model), self._copy("optimizer", optimizer)
        if any(tensor.is_cuda for tensor in (*model.values(), *optimizer.values())):
            torch.cuda.synchronize()
        return *copies, True

    def _copy(self, kind: str, tensors: Tensors) -> dict[str, torch.Tensor]:
        return {name: self._into(f"{kind}/{name}", tensor.detach()) for name, tensor in tensors.items()}

    def _into(self, key: str, tensor: torch.Tensor) -> torch.Tensor:
        buffer = self._buffers.get(key)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            # Pinned memory lets the device copy without a detour.
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[key] = buffer
        return buffer.copy_(tensor, non_blocking=tensor.is_cuda)


def _fits(needed: int) -> bool:
    available = available_memory()
    if needed <= available * (1 - SPARE_SHARE):
        return True
    log.warning(
        "saving does not overlap training: a copy takes %s of memory, and %s are available",
        human_bytes(needed),
        human_bytes(available),
    )
    return False


CONTROL_GROUPS = {
    ".": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Files of Linux's control groups, versions 2 and 1: folder, limit, use, and what of that is cache."""


def available_memory(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that can be allocated: the machine's, or what a container's limit leaves.

    Args:
        control_group: Where Linux shows the container's control group.
    """
    machine = psutil.virtual_memory().available
    for folder, (limit, used, cached) in CONTROL_GROUPS.items():
        try:
            files = (control_group / folder / name for name in (limit, used, "memory.stat"))
            most, now, statistics = (file.read_text(encoding="ascii") for file in files)
            counts = dict(line.split() for line in statistics.splitlines())
            left = int(most) - int(now) + int(counts[cached])
        except (OSError, ValueError, KeyError):  # another version, or "max": no limit
            continue
        return max(0, min(machine, left))
    return machine
