"""The folders that `kedro docker` mounts are the user's, not root's."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro_docker.plugin import DOCKER_DEFAULT_VOLUMES

from thriftune.project.docker_mounts import hooks

pytestmark = pytest.mark.unit


def test_what_docker_would_make_is_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `kedro docker`, in a project; before nothing else."""
    monkeypatch.chdir(tmp_path)
    hooks.before_command_run(project_metadata=object(), command_args=["run"])
    hooks.before_command_run(project_metadata=None, command_args=["docker", "run"])
    assert not list(tmp_path.iterdir())
    for _ in range(2):
        hooks.before_command_run(project_metadata=object(), command_args=["docker", "run"])
    assert all((tmp_path / folder).is_dir() for folder in DOCKER_DEFAULT_VOLUMES)
