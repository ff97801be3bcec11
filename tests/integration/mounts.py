"""Tests that mount file systems: as root here, else in a namespace where this user may mount."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAMESPACE = ("unshare", "--map-root-user", "--mount")


def mounting(test: Callable[..., None]) -> Callable[..., None]:
    """Let a test mount file systems, whoever runs it; it goes above the other decorators.

    Root runs it as it is. For anybody else pytest runs it once more, alone, in user and mount namespaces of
    its own, where this user counts as root; what is mounted there is gone at the end.
    """
    if os.geteuid() == 0:
        return test

    def in_a_namespace(request: pytest.FixtureRequest, tmp_path: Path, **parameters: Any) -> None:
        if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("this machine lets no user make namespaces")
        folder = tmp_path / "again"
        words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}"]
        done = subprocess.run(
            [*NAMESPACE, sys.executable, "-m", "pytest", *words, f"{request.path}::{request.node.name}"],
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            cwd=request.config.rootpath,
            capture_output=True,
            text=True,
            check=False,
        )
        if " skipped" in done.stdout.splitlines()[-1]:
            pytest.skip(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr

    marks = getattr(test, "pytestmark", [])
    given = ["request", "tmp_path"]
    for mark in marks:
        if mark.name == "parametrize":
            names = mark.args[0]
            given += names.split(",") if isinstance(names, str) else names
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in given]
    in_a_namespace.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    in_a_namespace.__name__, in_a_namespace.__doc__ = test.__name__, test.__doc__
    in_a_namespace.pytestmark = marks  # type: ignore[attr-defined]
    return in_a_namespace


def mount(*words: str) -> None:
    """Run mount, or skip the test where the machine does not let it."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine does not let a test mount a file system: {done.stderr}")
