"""Names of the metrics that a trial's journal has."""

from __future__ import annotations

VALIDATION_PREFIX = "validation/"
MACHINE_PREFIX = "system/"
"""Keys of what measures the machine: left out of every comparison."""
EPOCH_SECONDS = f"{MACHINE_PREFIX}epoch_seconds"
TRAIN_SECONDS = f"{MACHINE_PREFIX}train_seconds"
"""Of the optimizer steps since the row before, or since the epoch's start (step = the last of them)."""
VALIDATION_SECONDS = f"{MACHINE_PREFIX}validation_seconds"
"""Of one validation (step = epoch)."""
DEVICE_BYTES = f"{MACHINE_PREFIX}device_peak_bytes"
"""The most of the device's memory that tensors took in an epoch; on CUDA alone (step = epoch)."""

OWN, TOTAL, MEMORY, HELD, OPEN_FILES, THREADS = FIGURES = tuple(
    f"{MACHINE_PREFIX}{name}"
    for name in ("own_seconds", "trial_seconds", "memory_bytes", "held_bytes", "open_files", "threads")
)
"""What is measured once a trial."""
