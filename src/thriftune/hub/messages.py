"""What the hub's client raises, as errors for the user: what was asked for, what came, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thriftune.errors import ConfigError, ThriftuneError, UnavailableError
from thriftune.hub.client import TRIES, ImpatientError, PassingError, first_line
from thriftune.hub.repository import Repository

_GIVE_A_TOKEN = (
    "make a token that may read (Settings, Access Tokens) and give it by `export HF_TOKEN=...`, or once for "
    "all by `hf auth login`."
)
_OFFLINE = "the hub is switched off (HF_HUB_OFFLINE=1)"


@contextmanager
def explained(repository: Repository, endpoint: str, cache: Path) -> Iterator[None]:
    """ConfigError for what does not exist, UnavailableError for what cannot be had. Errors that are no matter
    of the hub, a full disk's among them, stay what they are."""
    from huggingface_hub import errors

    page = f"{endpoint}/{repository.page}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise _gated(repository, page) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(
            f"{repository} has no revision {repository.revision!r}",
            where=repository.where,
            remedy=f"name a branch, a tag or a commit that {page} lists.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise _unknown(repository, page) from error
    except errors.HFValidationError as error:
        raise ConfigError(
            f"{repository.id!r} is no name of a {repository.kind} on the hub",
            where=repository.where,
            remedy="write it as owner/name.",
        ) from error
    except errors.HfHubHTTPError as error:
        raise _answered(repository, page, cache, error.response.status_code) from error
    except PassingError as error:
        raise _unreachable(repository, cache, f"asked {TRIES} times, {error}") from error
    except (errors.OfflineModeIsEnabled, errors.RevisionResolutionError) as error:
        raise _unreachable(repository, cache, _OFFLINE) from error
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise _answered(repository, page, cache, error.__cause__.response.status_code) from error
        offline = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
        raise _unreachable(repository, cache, _OFFLINE if offline else first_line(error)) from error
    except Exception as error:
        if not _is_of_the_net(error):
            raise
        raise _unreachable(repository, cache, f"{type(error).__name__}: {first_line(error)}") from error


def no_such_file(repository: Repository, endpoint: str, folder: Path, name: str) -> ConfigError:
    """The error for a file that a repository does not have."""
    there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return ConfigError(
        f"{repository} has no file {name!r} at revision {repository.revision}; of what was asked for it "
        f"has {', '.join(there[:20]) or 'nothing'}",
        where=repository.where,
        remedy=f"name one of the files at {endpoint}/{repository.page}/tree/{repository.revision}.",
    )


def _gated(repository: Repository, page: str) -> UnavailableError:
    from huggingface_hub import get_token

    if get_token() is None:
        found = "no token was sent"
        remedy = f"open {page}, sign in and accept its terms; then {_GIVE_A_TOKEN}"
    else:
        found = "your token's account has not been given access"
        remedy = (
            f"open {page} with that account and accept its terms; where the owners grant access by hand, "
            "wait for it. Then run the same command again."
        )
    return UnavailableError(
        f"{repository} is gated, for those who accept its terms, and {found}",
        where=repository.where,
        remedy=remedy,
    )


def _unknown(repository: Repository, page: str) -> ConfigError:
    return ConfigError(
        f"the hub has no {repository.kind} {repository.id}, or it is private",
        where=repository.where,
        remedy=f"check the name at {page}; for a private one, {_GIVE_A_TOKEN}",
    )


def _answered(repository: Repository, page: str, cache: Path, status: int) -> ThriftuneError:
    """Of an answer that the client has no name for."""
    from huggingface_hub import get_token

    if status not in (401, 403):
        return _unreachable(repository, cache, f"it answered {status}")
    if get_token() is None:
        return _unknown(repository, page)
    return UnavailableError(
        f"{repository} cannot be read with your token: "
        + ("it is not valid, or no longer" if status == 401 else "it may not read this repository"),
        where=repository.where,
        remedy=f"look at {page} with the account of the token; for another token, {_GIVE_A_TOKEN}",
    )


def _unreachable(repository: Repository, cache: Path, said: str) -> UnavailableError:
    kind = " --repo-type dataset" if repository.kind == "dataset" else ""
    command = f"hf download {repository.id}{kind} --revision {repository.revision}"
    return UnavailableError(
        f"{repository} at revision {repository.revision} is not in the cache and cannot be had: {said}",
        where=repository.where,
        remedy=f"run the same command when the hub can be reached; or download it by hand, `{command}`, into "
        f"{cache}, here or on another machine.",
    )


def _is_of_the_net(error: Exception) -> bool:
    """Whether an error is the connection's or a download's that came out too short, and not a full disk's."""
    import httpx2
    from huggingface_hub.errors import FileMetadataError

    of_the_client = isinstance(error, httpx2.HTTPError | FileMetadataError | ImpatientError)
    return of_the_client or (isinstance(error, OSError) and error.errno is None)
