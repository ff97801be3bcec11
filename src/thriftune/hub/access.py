"""Files of repositories, by commit: from the local cache where they are whole there, else from the hub."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from filelock import FileLock, Timeout

from thriftune import files
from thriftune.errors import ConfigError
from thriftune.hub.client import TransientHubError, retrying_client
from thriftune.hub.messages import no_such_file, translated_errors
from thriftune.hub.repository import Repository

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")


class _Pin(TypedDict):
    """An entry of the file of commits."""

    commit: str
    on: str
    """The day on which the hub was asked, YYYY-MM-DD."""


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit, in the local cache."""

    folder: Path
    commit: str


@dataclass(frozen=True)
class Hub:
    """The hub as this process reaches it."""

    pins: Path
    """JSON file of the commits that branches and tags were resolved to; created when it is needed."""
    endpoint: str | None = None
    """Address of the hub. None: HF_ENDPOINT, else the public hub."""
    cache: Path | None = None
    """Folder of the cache. None: HF_HUB_CACHE, else the user's own."""
    sleep: Callable[[float], None] = time.sleep
    """Waits for so many seconds between two tries."""

    def snapshot(
        self, repository: Repository, patterns: Sequence[str], needed: Sequence[str] = ()
    ) -> Snapshot:
        """Return the folder with the wanted files, downloading those that the cache lacks.

        Args:
            repository: The repository, at a revision.
            patterns: Shell patterns of the files that are wanted.
            needed: Names of files without which the rest is of no use.

        A ConfigError is raised where the hub has no such repository, revision or needed file, an
        UnavailableError where it refuses access, or cannot be reached and the cache is not complete.
        """
        from huggingface_hub import set_client_factory
        from huggingface_hub.utils.tqdm import disable_progress_bars

        set_client_factory(partial(retrying_client, self.sleep))
        if not sys.stderr.isatty():
            disable_progress_bars()
        with translated_errors(repository, self._endpoint, self._cache):
            pinned = replace(repository, revision=self.commit(repository))
        with translated_errors(pinned, self._endpoint, self._cache):
            folder = self._cached(pinned, patterns, needed) or self._download(pinned, patterns)
        for name in needed:
            if not (folder / name).is_file():
                error = no_such_file(pinned, self._endpoint, folder, name)
                raise error
        return Snapshot(folder, pinned.revision)

    def commit(self, repository: Repository) -> str:
        """Return the commit of a revision; one that the hub is asked for is written down.

        Args:
            repository: The repository, at a commit, a branch or a tag.
        """
        if _COMMIT.fullmatch(repository.revision):
            return repository.revision
        key = f"{repository.kind} {repository.id}@{repository.revision}"
        with files.file_lock(self.pins):
            pins = self._read_pins()
            if key not in pins:
                commit = self._resolve(repository)
                pins[key] = {"commit": commit, "on": datetime.now(UTC).date().isoformat()}
                files.write_json(self.pins, pins)
                log.info("%s of %s is commit %s, now recorded", repository.revision, repository, commit)
            return pins[key]["commit"]

    def names(self, repository: Repository) -> list[str]:
        """Return the names of the files that the hub listed when the repository was downloaded.

        Args:
            repository: The repository, at a revision.

        Returns:
            None where the cache has no list.
        """
        return [file.path for file in self._tree(replace(repository, revision=self.commit(repository)))]

    def _read_pins(self) -> dict[str, _Pin]:
        try:
            pins: dict[str, _Pin] = files.read_json(self.pins) if self.pins.exists() else {}
        except ValueError as error:
            raise ConfigError(
                f"not valid JSON: {error}",
                where=str(self.pins),
                remedy="restore it from a copy, or remove it: the commits of its branches are then looked up "
                "on the hub again.",
            ) from error
        return pins

    def _resolve(self, repository: Repository) -> str:
        from huggingface_hub import HfApi

        ask = partial(
            HfApi(endpoint=self.endpoint).resolve_revision,
            repository.id,
            repo_type=repository.kind,
            revision=repository.revision,
            cache_dir=self.cache,
        )
        try:
            return str(ask().resolved)
        except TransientHubError:
            known = self._cache / repository.folder / "refs" / repository.revision
            if not known.is_file():
                raise
            log.warning(
                "the hub cannot be reached; using the cached commit for %s of %s", known.name, repository
            )
            return str(ask(local_files_only=True).resolved)

    def _cached(self, repository: Repository, patterns: Sequence[str], needed: Sequence[str]) -> Path | None:
        """Return the folder in the cache; None where it lacks a file that is known to belong there."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        self._sweep(repository)
        missing = self._missing(repository, patterns)
        try:
            folder = self._download(repository, patterns, local_files_only=True)
        except LocalEntryNotFoundError:
            what, names = ("missing files of ", f": {', '.join(missing)}") if missing else ("", "")
            log.info("downloading %s%s at %s%s", what, repository, repository.revision[:12], names)
            return None
        return folder if all((folder / name).is_file() for name in needed) else None

    def _sweep(self, repository: Repository) -> None:
        """Remove what killed downloads left; the client resumes none of it."""
        for path in (self._cache / repository.folder / "blobs").glob("*.incomplete"):
            lock = self._cache / ".locks" / repository.folder / f"{path.name.split('.')[0]}.lock"
            try:
                with FileLock(lock, blocking=False):
                    path.unlink(missing_ok=True)
            except (Timeout, FileNotFoundError):
                continue  # another process is downloading it

    def _missing(self, repository: Repository, patterns: Sequence[str]) -> list[str]:
        """Return the listed files that the cache lacks; one of another size than the hub's is removed."""
        missing = []
        for file in self._tree(repository):
            path = self._cache / repository.folder / "snapshots" / repository.revision / file.path
            if not any(fnmatch(file.path, pattern) for pattern in patterns):
                continue
            if path.is_file() and path.stat().st_size != file.size:
                log.warning("%s of %s is incomplete in the cache", file.path, repository)
                path.resolve().unlink()
                path.unlink(missing_ok=True)
            if not path.is_file():
                missing.append(file.path)
        return missing

    def _tree(self, repository: Repository) -> list[RepoFile]:
        """Return the files of a commit as the cache lists them."""
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        try:
            return get_cached_repo_tree(
                repository.id,
                repo_type=repository.kind,
                revision=repository.revision,
                cache_dir=self.cache,
            )
        except CachedRepoTreeNotFoundError:
            return []

    def _download(
        self, repository: Repository, patterns: Sequence[str], *, local_files_only: bool = False
    ) -> Path:
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            repository.id,
            repo_type=repository.kind,
            revision=repository.revision,
            cache_dir=self.cache,
            endpoint=self.endpoint,
            allow_patterns=list(patterns),
            local_files_only=local_files_only,
        )
        return Path(folder)

    @property
    def _cache(self) -> Path:
        from huggingface_hub.constants import HF_HUB_CACHE

        return self.cache or Path(HF_HUB_CACHE)

    @property
    def _endpoint(self) -> str:
        from huggingface_hub.constants import ENDPOINT

        return self.endpoint or ENDPOINT
