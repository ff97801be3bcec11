"""What is installed, configured and in reach."""

from __future__ import annotations

import shutil

import torch

from thriftune.checkpoints.disk import disk_of
from thriftune.config import EncoderFromPackage, EncoderSource, Parameters
from thriftune.container import in_image, require_mounts
from thriftune.errors import ConfigError
from thriftune.study.provenance import versions
from thriftune.training.seeding import no_gpu
from thriftune.training.snapshot import available_memory
from thriftune.units import human_bytes


def doctor_rows(settings: Parameters) -> dict[str, str | int]:
    """Return versions, device, memory, disk, mounts, stores and caches, by name.

    Args:
        settings: The project's parameters.
    """
    disk = disk_of(settings.storage.folder)
    stores = {name: (settings.tracking.folder / name).exists() for name in ("mlflow.db", "optuna.db")}
    low = disk.is_low(settings.storage.free_disk_watermark)
    return {
        **versions(),
        "device": f"cpu ({missing})" if (missing := no_gpu()) else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "memory free": human_bytes(available_memory()),
        "disk free": f"{human_bytes(disk.free_bytes)} of {human_bytes(disk.total_bytes)}"
        + (" (under the watermark: only protected checkpoints are kept)" if low else ""),
        **({"mounts": _mounts_line(settings)} if in_image() else {}),
        **{f"store {name}": "present" if found else "not created yet" for name, found in stores.items()},
        "git": shutil.which("git") or "missing: the commit is not recorded",
        "encoders": ", ".join(_encoder_line(*item) for item in sorted(settings.encoders.items())),
    }


def _mounts_line(settings: Parameters) -> str:
    try:
        require_mounts(settings.project_folder, settings.folders().values())
    except ConfigError as error:
        return f"{error.message}. {error.remedy}"
    return "there"


def _encoder_line(name: str, source: EncoderSource) -> str:
    from importlib.util import find_spec

    missing = isinstance(source, EncoderFromPackage) and find_spec(source.package) is None
    return f"{name} (not installed: make encoder)" if missing else name
