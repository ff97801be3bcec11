"""Makes the folders that `kedro docker run` mounts: Docker would make the missing ones, as root's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.framework.cli.hooks import cli_hook_impl


class DockerMounts:
    """Registered in pyproject.toml, as Kedro has it for hooks of its command line."""

    @cli_hook_impl
    def before_command_run(self, project_metadata: Any, command_args: list[str]) -> None:
        """Only in the project's folder, which is where kedro-docker looks for them."""
        if project_metadata is None or command_args[:1] != ["docker"]:
            return
        from kedro_docker.plugin import DOCKER_DEFAULT_VOLUMES

        for folder in DOCKER_DEFAULT_VOLUMES:
            (Path.cwd() / folder).mkdir(parents=True, exist_ok=True)


hooks = DockerMounts()
