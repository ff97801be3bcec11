"""Errors of the hub's client, translated for the user: what was asked for, what happened, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thriftune.errors import ConfigError, ThriftuneError, UnavailableError, first_line
from thriftune.hub.client import TRIES, RetryAfterTooLongError, TransientHubError
from thriftune.hub.repository import Repository

_ADD_A_TOKEN = (
    "create a read token (Settings, Access Tokens) and set it with `export HF_TOKEN=...`, or permanently "
    "with `hf auth login`."
)
_OFFLINE = "the hub is switched off (HF_HUB_OFFLINE=1)"


@contextmanager
def translated_errors(repository: Repository, endpoint: str, cache: Path) -> Iterator[None]:
    """Translate errors of the hub in the block; others, those of a full disk among them, stay as they are.

    Args:
        repository: What is asked for in the block.
        endpoint: Address of the hub.
        cache: Folder of the cache, for the message.

    What is asked for and does not exist becomes a ConfigError, what cannot be downloaded an UnavailableError.
    """
    try:
        yield
    except Exception as error:
        translated = _translate(error, repository, f"{endpoint}/{repository.page}", cache)
        if translated is None:
            raise
        raise translated from error


def _translate(error: Exception, repository: Repository, page: str, cache: Path) -> ThriftuneError | None:
    """Return what to raise instead; None for an error that does not concern the hub."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError):
        error = _why_it_is_not_local(error)
    match error:
        case errors.GatedRepoError():
            return _gated(repository, page)
        case errors.RevisionNotFoundError():
            return _no_such_revision(repository, page)
        case errors.RepositoryNotFoundError():
            return _unknown(repository, page)
        case errors.HFValidationError():
            return _not_a_name(repository)
        case errors.HfHubHTTPError():
            return _unexpected_answer(repository, page, cache, error.response.status_code)
        case TransientHubError():
            return _unreachable(repository, cache, f"tried {TRIES} times: {error}")
        case errors.OfflineModeIsEnabled() | errors.RevisionResolutionError():
            return _unreachable(repository, cache, _OFFLINE)
        case errors.LocalEntryNotFoundError():
            return _unreachable(repository, cache, first_line(error))
    if _is_network_error(error):
        return _unreachable(repository, cache, f"{type(error).__name__}: {first_line(error)}")
    return None


def _why_it_is_not_local(error: Exception) -> Exception:
    """Return the cause of an error that says only that the cache lacks a file, where the cause is known."""
    from huggingface_hub import errors

    cause = error.__cause__
    known = isinstance(cause, errors.HfHubHTTPError | errors.OfflineModeIsEnabled)
    return cause if known and isinstance(cause, Exception) else error


def no_such_file(repository: Repository, endpoint: str, folder: Path, name: str) -> ConfigError:
    """Return the error for a file that a repository does not have.

    Args:
        repository: The repository, at a commit.
        endpoint: Address of the hub.
        folder: Where the files are that it does have.
        name: The file that was needed.
    """
    there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return ConfigError(
        f"{repository} has no file {name!r} at revision {repository.revision}; of the files asked for it "
        f"has {', '.join(there[:20]) or 'none'}",
        where=repository.where,
        remedy=f"name one of the files at {endpoint}/{repository.page}/tree/{repository.revision}.",
    )


def _no_such_revision(repository: Repository, page: str) -> ConfigError:
    return ConfigError(
        f"{repository} has no revision {repository.revision!r}",
        where=repository.where,
        remedy=f"name a branch, a tag or a commit that {page} lists.",
    )


def _not_a_name(repository: Repository) -> ConfigError:
    return ConfigError(
        f"{repository.id!r} is not the name of a {repository.kind} on the hub",
        where=repository.where,
        remedy="write it as owner/name.",
    )


def _gated(repository: Repository, page: str) -> UnavailableError:
    from huggingface_hub import get_token

    if get_token() is None:
        found = "no token was sent"
        remedy = f"open {page}, sign in and accept its terms; then {_ADD_A_TOKEN}"
    else:
        found = "your token's account has not been given access"
        remedy = (
            f"open {page} with that account and accept its terms; where the owners grant access by hand, "
            "wait for it. Then run the same command again."
        )
    return UnavailableError(
        f"{repository} is gated (its terms must be accepted), and {found}",
        where=repository.where,
        remedy=remedy,
    )


def _unknown(repository: Repository, page: str) -> ConfigError:
    return ConfigError(
        f"the hub has no {repository.kind} {repository.id}, or it is private",
        where=repository.where,
        remedy=f"check the name at {page}; for a private one, {_ADD_A_TOKEN}",
    )


def _unexpected_answer(repository: Repository, page: str, cache: Path, status: int) -> ThriftuneError:
    from huggingface_hub import get_token

    if status not in (401, 403):
        return _unreachable(repository, cache, f"it answered {status}")
    if get_token() is None:
        return _unknown(repository, page)
    return UnavailableError(
        f"{repository} cannot be read with your token: "
        + ("it is invalid or has expired" if status == 401 else "it may not read this repository"),
        where=repository.where,
        remedy=f"look at {page} with the account of the token; to use another token, {_ADD_A_TOKEN}",
    )


def _unreachable(repository: Repository, cache: Path, reason: str) -> UnavailableError:
    kind = " --repo-type dataset" if repository.kind == "dataset" else ""
    command = f"hf download {repository.id}{kind} --revision {repository.revision}"
    return UnavailableError(
        f"{repository} at revision {repository.revision} is not in the cache and cannot be downloaded: "
        f"{reason}",
        where=repository.where,
        remedy=f"run the same command when the hub can be reached; or download it by hand, `{command}`, into "
        f"{cache}, here or on another machine.",
    )


def _is_network_error(error: Exception) -> bool:
    """Return whether the connection failed or a download came out short; not so where a disk is full."""
    import httpx2
    from huggingface_hub.errors import FileMetadataError

    of_the_client = isinstance(error, httpx2.HTTPError | FileMetadataError | RetryAfterTooLongError)
    return of_the_client or (isinstance(error, OSError) and error.errno is None)
