"""Keys of the metrics in a trial's journal."""

from __future__ import annotations

VALIDATION_PREFIX = "validation/"
MACHINE_PREFIX = "system/"
"""Begins the keys of measurements of the machine, which every comparison leaves out."""
EPOCH_SECONDS = f"{MACHINE_PREFIX}epoch_seconds"
TRAIN_SECONDS = f"{MACHINE_PREFIX}train_seconds"
"""Time of the optimizer steps since the row before, or since the epoch's start (step = the last of them)."""
VALIDATION_SECONDS = f"{MACHINE_PREFIX}validation_seconds"
"""Time of one validation (step = epoch)."""
DEVICE_BYTES = f"{MACHINE_PREFIX}device_peak_bytes"
"""Peak of the device's memory taken by tensors in an epoch; CUDA only (step = epoch)."""

OWN, TOTAL, MEMORY, HELD, OPEN_FILES, THREADS = FIGURES = tuple(
    f"{MACHINE_PREFIX}{name}"
    for name in ("own_seconds", "trial_seconds", "memory_bytes", "held_bytes", "open_files", "threads")
)
"""Keys of what is measured once a trial."""
