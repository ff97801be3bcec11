"""The lock pins and hashes what is installed; the installer refuses what has another hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
NAME = r"[a-z0-9][a-z0-9.-]*"
PIN = re.compile(rf"({NAME})==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{{64}}(?: \\)?\n)+)")


def test_every_pin_of_the_lock_has_hashes() -> None:
    """Nothing but pins with SHA-256: no index, no path, no pin that `--require-hashes` would refuse."""
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert PIN.sub("", lock).strip() == ""


def test_the_lock_covers_every_dependency_and_torch_apart() -> None:
    """Torch, whose file depends on the machine, has its own file; all else that is declared is locked."""
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = {match[1] for match in PIN.finditer(lock)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=\[]", each)[0].lower() for each in declared}
    assert names - pinned == {"torch"}
    torch = (ROOT / "requirements-torch.txt").read_text(encoding="utf-8")
    assert re.fullmatch(r"torch==[0-9.]+\n", torch), "a local version such as +cpu is not on every index"
