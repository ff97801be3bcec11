"""What a study was made with: libraries, machine, commit."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import psutil
from pydantic import JsonValue

from thriftune import __version__

LIBRARIES = (
    "kedro",
    "kedro-mlflow",
    "mlflow",
    "optuna",
    "torch",
    "transformers",
    "datasets",
    "numpy",
)


def versions() -> dict[str, str]:
    """Return the versions of this project, Python and the libraries that matter."""
    found = {"thriftune": __version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in LIBRARIES}


def machine() -> dict[str, JsonValue]:
    """Return what the machine is, without its name."""
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
    }


def git_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in a folder, or None outside a checkout.

    Args:
        folder: The folder; it need not be the checkout's own.
    """
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
