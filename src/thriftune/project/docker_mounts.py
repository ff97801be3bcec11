"""Create the folders that `kedro docker run` mounts: Docker would create the missing ones, as root's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kedro.framework.cli.hooks import cli_hook_impl
from kedro.framework.startup import ProjectMetadata


class DockerMounts:
    """Hooks of Kedro's command line; pyproject.toml registers them."""

    @cli_hook_impl
    def before_command_run(
        self, project_metadata: ProjectMetadata | None, command_args: Sequence[str]
    ) -> None:
        """Create the folders before a command of kedro-docker in a project.

        Args:
            project_metadata: The project that Kedro has found. None: the command runs in no project.
            command_args: The words of the command, `kedro` left out.
        """
        if project_metadata is None or command_args[:1] != ["docker"]:
            return
        from kedro_docker.plugin import DOCKER_DEFAULT_VOLUMES

        for folder in DOCKER_DEFAULT_VOLUMES:
            (Path.cwd() / folder).mkdir(parents=True, exist_ok=True)  # kedro-docker mounts them from here


hooks = DockerMounts()
