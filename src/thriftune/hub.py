"""The one way to the Hugging Face hub: the cache first, then patiently, and clear about what is missing.

A branch or tag is resolved to a commit once and written down (`pins`); from then on that commit is read, from
the local cache without a call where it is whole there. A request that fails for now is made again up to five
times; one that the hub refuses is not.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from thriftune import files
from thriftune.errors import ConfigError, ThriftuneError, UnavailableError

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.hf_api import RepoFile

log = logging.getLogger(__name__)

TRIES = 6
"""The first and five more, after 1, 2, 4, 8 and 16 s."""
LONGEST_WAIT_SECONDS = 300.0
"""A hub that asks to wait for longer is asked again by the user, not by us."""
TIMEOUT_SECONDS = 10.0
PASSING = (408, 429, 500, 502, 503, 504)
"""Status codes of what may be over in a moment."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_GIVE_A_TOKEN = (
    "make a token that may read (Settings, Access Tokens) and give it by `export HF_TOKEN=...`, or once for "
    "all by `hf auth login`."
)


@dataclass(frozen=True)
class Repository:
    """What is wanted of the hub, and the parameter that asks for it."""

    kind: Literal["model", "dataset"]
    id: str
    revision: str = "main"
    """Branch, tag or commit."""
    where: str = ""

    def __str__(self) -> str:
        return f"the {'data set' if self.kind == 'dataset' else 'model'} {self.id}"


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit, in the local cache."""

    folder: Path
    commit: str


class _PassingError(Exception):
    """The request failed for now; the hub may have said how many seconds to wait."""

    def __init__(self, said: str, wait_seconds: float = 0.0) -> None:
        super().__init__(said)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Hub:
    """The hub as this process reaches it; tests name a server, a cache and a clock of their own."""

    pins: Path
    """JSON file of the commits that branches and tags were resolved to."""
    endpoint: str | None = None
    """None: HF_ENDPOINT, else the public hub."""
    cache: Path | None = None
    """None: HF_HUB_CACHE, else the user's own."""
    sleep: Callable[[float], None] = time.sleep

    def snapshot(
        self, repository: Repository, patterns: Sequence[str], needed: Sequence[str] = ()
    ) -> Snapshot:
        """The files that match one of the patterns, at the commit that the revision stands for.

        Raises ConfigError where the hub has no such repository, revision or `needed` file, UnavailableError
        where it refuses access or cannot be reached and the cache is not whole.
        """
        from huggingface_hub import set_client_factory
        from huggingface_hub.utils.tqdm import disable_progress_bars

        set_client_factory(partial(_patient_client, self.sleep))
        if not sys.stderr.isatty():
            disable_progress_bars()
        with self._explained(repository):
            commit = self.commit(repository)
            repository = Repository(repository.kind, repository.id, commit, repository.where)
        with self._explained(repository):
            folder = self._cached(repository, patterns, needed) or self._download(repository, patterns)
            for name in needed:
                if not (folder / name).is_file():
                    raise self._no_such_file(repository, folder, name)
        return Snapshot(folder, commit)

    def commit(self, repository: Repository) -> str:
        """The commit of a revision: itself, as it is on record, or as the hub says now; then it is."""
        if _COMMIT.fullmatch(repository.revision):
            return repository.revision
        key = f"{repository.kind} {repository.id}@{repository.revision}"
        with files.alone_with(self.pins):
            pins = files.read_json(self.pins) if self.pins.exists() else {}
            if key not in pins:
                commit = self._resolve(repository)
                pins[key] = {"commit": commit, "on": datetime.now(UTC).date().isoformat()}
                files.write_json(self.pins, pins)
                log.info("%s of %s is commit %s from now on", repository.revision, repository, commit)
            return str(pins[key]["commit"])

    def names(self, repository: Repository) -> list[str]:
        """The files that the hub listed of it when it was downloaded; none where the cache has no list."""
        commit = self.commit(repository)
        return [file.path for file in self._tree(Repository(repository.kind, repository.id, commit))]

    def _tree(self, repository: Repository) -> list[RepoFile]:
        """Of a commit."""
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
        except _PassingError:
            known = self._refs(repository) / repository.revision
            if not known.is_file():
                raise
            log.warning("the hub cannot be reached: %s of %s as the cache knows it", known.name, repository)
            return str(ask(local_files_only=True).resolved)

    def _cached(self, repository: Repository, patterns: Sequence[str], needed: Sequence[str]) -> Path | None:
        """The folder in the cache, where nothing is missing in it that is known to belong there."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        self._sweep(repository)
        missing = self._missing(repository, patterns)
        try:
            folder = Path(snapshot_download(**self._arguments(repository, patterns), local_files_only=True))
        except LocalEntryNotFoundError:
            what, names = ("what the cache lacks of ", f": {', '.join(missing)}") if missing else ("", "")
            log.info("downloading %s%s at %s%s", what, repository, repository.revision[:12], names)
            return None
        return folder if all((folder / name).is_file() for name in needed) else None

    def _sweep(self, repository: Repository) -> None:
        """Remove what killed downloads left; the client takes none of it up again."""
        for path in (self._root(repository) / "blobs").glob("*.incomplete"):
            lock = self._cache() / ".locks" / self._root(repository).name / f"{path.name.split('.')[0]}.lock"
            try:
                with FileLock(lock, blocking=False):
                    path.unlink(missing_ok=True)
            except (Timeout, FileNotFoundError):
                continue  # a process is at it

    def _missing(self, repository: Repository, patterns: Sequence[str]) -> list[str]:
        """Names of listed files that the cache lacks. One of another size than the hub's is removed first."""
        missing = []
        for file in self._tree(repository):
            path = self._root(repository) / "snapshots" / repository.revision / file.path
            if not any(fnmatch(file.path, pattern) for pattern in patterns):
                continue
            if path.is_file() and path.stat().st_size != file.size:
                log.warning("%s of %s is cut short in the cache", file.path, repository)
                path.resolve().unlink()
                path.unlink(missing_ok=True)
            if not path.is_file():
                missing.append(file.path)
        return missing

    def _download(self, repository: Repository, patterns: Sequence[str]) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(**self._arguments(repository, patterns)))

    def _arguments(self, repository: Repository, patterns: Sequence[str]) -> dict[str, Any]:
        return {
            "repo_id": repository.id,
            "repo_type": repository.kind,
            "revision": repository.revision,
            "cache_dir": self.cache,
            "endpoint": self.endpoint,
            "allow_patterns": list(patterns),
        }

    def _cache(self) -> Path:
        from huggingface_hub.constants import HF_HUB_CACHE

        return self.cache or Path(HF_HUB_CACHE)

    def _root(self, repository: Repository) -> Path:
        return self._cache() / f"{repository.kind}s--{repository.id.replace('/', '--')}"

    def _refs(self, repository: Repository) -> Path:
        return self._root(repository) / "refs"

    @contextmanager
    def _explained(self, repository: Repository) -> Iterator[None]:
        """What the hub's client raises, as an error for the user."""
        from huggingface_hub import errors

        try:
            yield
        except (errors.GatedRepoError, errors.DisabledRepoError) as error:
            raise self._gated(repository) from error
        except errors.RevisionNotFoundError as error:
            raise ConfigError(
                f"{repository} has no revision {repository.revision!r}",
                where=repository.where,
                remedy="name a branch, a tag or a commit that its page lists.",
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise self._unknown(repository) from error
        except errors.HFValidationError as error:
            raise ConfigError(
                f"{repository.id!r} is no name of a {repository.kind} on the hub",
                where=repository.where,
                remedy="write it as owner/name.",
            ) from error
        except errors.HfHubHTTPError as error:
            raise self._answered(repository, error.response.status_code) from error
        except ThriftuneError:
            raise
        except _PassingError as error:
            raise self._unreachable(repository, f"asked {TRIES} times, {error}") from error
        except (errors.OfflineModeIsEnabled, errors.RevisionResolutionError) as error:
            raise self._unreachable(repository, "the hub is switched off (HF_HUB_OFFLINE=1)") from error
        except errors.LocalEntryNotFoundError as error:
            if isinstance(error.__cause__, errors.HfHubHTTPError):
                raise self._answered(repository, error.__cause__.response.status_code) from error
            offline = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
            said = "the hub is switched off (HF_HUB_OFFLINE=1)" if offline else _first_line(error)
            raise self._unreachable(repository, said) from error
        except Exception as error:
            if not _is_of_the_net(error):
                raise
            raise self._unreachable(repository, f"{type(error).__name__}: {_first_line(error)}") from error

    def _gated(self, repository: Repository) -> UnavailableError:
        from huggingface_hub import get_token

        if get_token() is None:
            found = "no token was sent"
            remedy = f"open {self._page(repository)}, sign in and accept its terms; then {_GIVE_A_TOKEN}"
        else:
            found = "your token's account has not been given access"
            remedy = (
                f"open {self._page(repository)} with that account and accept its terms; where the owners "
                "grant access by hand, wait for it. Then run the same command again."
            )
        return UnavailableError(
            f"{repository} is gated, for those who accept its terms, and {found}",
            where=repository.where,
            remedy=remedy,
        )

    def _unknown(self, repository: Repository) -> ConfigError:
        return ConfigError(
            f"the hub has no {repository.kind} {repository.id}, or it is private",
            where=repository.where,
            remedy=f"check the name at {self._page(repository)}; for a private one, {_GIVE_A_TOKEN}",
        )

    def _answered(self, repository: Repository, status: int) -> ThriftuneError:
        """Of an answer that the client has no name for."""
        from huggingface_hub import get_token

        if status not in (401, 403):
            return self._unreachable(repository, f"it answered {status}")
        if get_token() is None:
            return self._unknown(repository)
        return UnavailableError(
            f"{repository} cannot be read with your token: "
            + ("it is not valid, or no longer" if status == 401 else "it may not read this repository"),
            where=repository.where,
            remedy=f"{_GIVE_A_TOKEN} Another one than before.",
        )

    def _unreachable(self, repository: Repository, said: str) -> UnavailableError:
        kind = " --repo-type dataset" if repository.kind == "dataset" else ""
        command = f"hf download {repository.id}{kind} --revision {repository.revision}"
        return UnavailableError(
            f"{repository} at revision {repository.revision} is not in the cache and cannot be had: {said}",
            where=repository.where,
            remedy=f"run the same command when the hub can be reached; or download it by hand, `{command}`, "
            f"into {self._cache()}, here or on another machine.",
        )

    def _no_such_file(self, repository: Repository, folder: Path, name: str) -> ConfigError:
        there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        return ConfigError(
            f"{repository} has no file {name!r} at revision {repository.revision}; of what was asked for it "
            f"has {', '.join(there[:20]) or 'nothing'}",
            where=repository.where,
            remedy=f"name one of the files at {self._page(repository)}/tree/{repository.revision}.",
        )

    def _page(self, repository: Repository) -> str:
        from huggingface_hub.constants import ENDPOINT

        prefix = "datasets/" if repository.kind == "dataset" else ""
        return f"{self.endpoint or ENDPOINT}/{prefix}{repository.id}"


def _patient_client(sleep: Callable[[float], None]) -> httpx2.Client:
    """An HTTP client for huggingface_hub that makes what fails for now again, and gives up with
    _PassingError, which the library does not try again on top."""
    import httpx2
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import OfflineModeIsEnabled

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs URLs, signed ones too
    retrying = Retrying(
        retry=retry_if_exception_type(_PassingError),
        stop=stop_after_attempt(TRIES),
        wait=_wait_seconds,
        before_sleep=_tell,
        sleep=sleep,
        reraise=True,
    )

    class Patient(httpx2.Client):
        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            if is_offline_mode():
                raise OfflineModeIsEnabled(str(request.url))
            timeout = request.extensions.get("timeout") or {}
            request.extensions["timeout"] = {
                part: timeout.get(part) or TIMEOUT_SECONDS for part in ("connect", "read", "write", "pool")
            }
            return retrying(self._once, request, options)

        def _once(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
            try:
                response = super().send(request, **options)
            except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                raise _PassingError(f"{type(error).__name__}: {_first_line(error)}") from error
            if response.status_code not in PASSING:
                return response
            response.close()
            wait = _asked_to_wait(response)
            said = f"it answered {response.status_code}"
            if wait > LONGEST_WAIT_SECONDS:
                raise _ImpatientError(f"{said} and asks to wait for {wait:.0f} s")
            raise _PassingError(said, wait)

    return Patient(follow_redirects=True)


class _ImpatientError(Exception):
    """The hub asks to wait for longer than a run does."""


def _wait_seconds(state: RetryCallState) -> float:
    """1, 2, 4, 8, 16 s, or what the hub asks for where that is longer."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.wait_seconds if isinstance(error, _PassingError) else 0.0
    return max(2.0 ** (state.attempt_number - 1), asked)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    number = state.attempt_number + 1
    log.warning("the hub: %s; try %d of %d in %.0f s", error, number, TRIES, state.upcoming_sleep)


def _asked_to_wait(response: httpx2.Response) -> float:
    """Seconds of Retry-After, a number or a date, or until the rate limit is over; else 0."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    said = response.headers.get("retry-after", "").strip()
    if said.isdigit():
        return float(said)
    if said:
        try:
            return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            pass
    limit = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else 0.0


def _is_of_the_net(error: Exception) -> bool:
    """Whether an error is the connection's or a download's that came out too short, and not a full disk's."""
    import httpx2
    from huggingface_hub.errors import FileMetadataError

    of_the_client = isinstance(error, httpx2.HTTPError | FileMetadataError | _ImpatientError)
    return of_the_client or (isinstance(error, OSError) and error.errno is None)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition(os.linesep)[0]
