"""What a run in the project's own image (Dockerfile) needs from the `docker run` that started it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from thriftune.errors import ConfigError

GPU_FLAG = '`docker run --gpus all`, or `kedro docker run --docker-args="--gpus all"`'


def in_image() -> bool:
    """Return whether this process runs in a container of the project's image."""
    return "THRIFTUNE_IMAGE" in os.environ


def require_mounts(root: Path, folders: Iterable[Path]) -> None:
    """Raise where what a run leaves in the folders would be lost with the container.

    Nothing is required outside the image: another container may be the user's whole machine.

    Args:
        root: The project's folder.
        folders: Folders that a run writes to.

    Raises:
        ConfigError: Some of them are on the container's own layer.
    """
    missing = unmounted(root, folders, mount_points()) if in_image() else ()
    if not missing:
        return
    here = root.absolute()
    own = [path.relative_to(here) for path in missing if path.is_relative_to(here)]
    flags = [f'-v "$PWD/{path}:{here / path}"' for path in own]
    flags += [f"-v FOLDER:{path}" for path in missing if not path.is_relative_to(here)]
    raise ConfigError(
        f"not mounted: {', '.join(map(str, missing))}; what a run leaves there is lost with the container",
        where="docker run",
        remedy=f"in the project's folder, add to `docker run`: {' '.join(flags)}; `kedro docker run` mounts "
        f"data and logs by itself. To lose it on purpose: {' '.join(f'-v {path}' for path in missing)}.",
    )


def unmounted(root: Path, folders: Iterable[Path], mounts: Collection[Path]) -> tuple[Path, ...]:
    """Return the folders that are on the container's own layer.

    Args:
        root: The project's folder. A folder below it stands for its first part there, such as data.
        folders: Folders that a run writes to.
        mounts: Where something is mounted.
    """
    here = root.absolute()
    found = dict.fromkeys(here / folder for folder in folders)
    lost = [path for path in found if not any(place in mounts for place in (path, *path.parents))]
    tops = (here / path.relative_to(here).parts[0] if path.is_relative_to(here) else path for path in lost)
    return tuple(dict.fromkeys(tops))


def mount_points() -> frozenset[Path]:
    """Return where something is mounted, except at /."""
    import psutil

    return frozenset(Path(part.mountpoint) for part in psutil.disk_partitions(all=True)) - {Path("/")}


def owner_advice(folder: Path) -> str:
    """Return how a container may write a folder that belongs to another user; empty outside the image.

    Args:
        folder: A folder that cannot be written.
    """
    if not in_image():
        return ""
    owner = folder.stat()
    return (
        f" The container runs as user {os.getuid()}, the folder is user {owner.st_uid}'s: build the image as "
        f"that user (`kedro docker build`), or add `--user {owner.st_uid}:{owner.st_gid}` to `docker run`."
    )
