"""The HTTP client that huggingface_hub is given: it retries what may work in a moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from thriftune.errors import first_line

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

TRIES = 6
"""The first and five more, after 1, 2, 4, 8 and 16 s."""
LONGEST_WAIT_SECONDS = 300.0
"""A run that is asked to wait for longer ends, and leaves the retry to its user."""
TIMEOUT_SECONDS = 10.0
"""Without a byte from the hub."""
TRANSIENT = (408, 429, 500, 502, 503, 504)
"""Status codes of what may work in a moment."""


class TransientHubError(Exception):
    """A request that failed and may work in a moment.

    huggingface_hub does not know this error, so that its own loops do not retry on top.
    """

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        """Describe the failure.

        Args:
            reason: What happened, as the end of a sentence.
            wait_seconds: How long the hub asks to wait; 0: it does not.
        """
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class RetryAfterTooLongError(Exception):
    """The hub asks to wait for longer than LONGEST_WAIT_SECONDS."""


def retrying_client(sleep: Callable[[float], None]) -> httpx2.Client:
    """Return a client that makes a request up to TRIES times, after which it raises TransientHubError.

    Args:
        sleep: Waits for so many seconds between two tries.
    """
    import httpx2
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import OfflineModeIsEnabled

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs URLs, signed ones too
    retrying = Retrying(
        retry=retry_if_exception_type(TransientHubError),
        stop=stop_after_attempt(TRIES),
        wait=_wait_seconds,
        before_sleep=_log_retry,
        sleep=sleep,
        reraise=True,
    )

    class _RetryingClient(httpx2.Client):
        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            if is_offline_mode():
                raise OfflineModeIsEnabled(str(request.url))
            timeout = request.extensions.get("timeout") or {}
            request.extensions["timeout"] = {
                part: timeout.get(part) or TIMEOUT_SECONDS for part in ("connect", "read", "write", "pool")
            }
            return retrying(self._once, request, **options)

        def _once(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            try:
                response = super().send(request, **options)
            except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                raise TransientHubError(f"{type(error).__name__}: {first_line(error)}") from error
            if response.status_code not in TRANSIENT:
                return response
            response.close()
            wait = _asked_to_wait(response)
            reason = f"it answered {response.status_code}"
            if wait > LONGEST_WAIT_SECONDS:
                raise RetryAfterTooLongError(f"{reason} and asks to wait for {wait:.0f} s")
            raise TransientHubError(reason, wait)

    return _RetryingClient(follow_redirects=True)


def _wait_seconds(state: RetryCallState) -> float:
    """Return 1, 2, 4, 8, 16 s, or what the hub asks for where that is longer."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.wait_seconds if isinstance(error, TransientHubError) else 0.0
    return max(2.0 ** (state.attempt_number - 1), asked)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    number = state.attempt_number + 1
    log.warning("the hub: %s; try %d of %d in %.0f s", error, number, TRIES, state.upcoming_sleep)


def _asked_to_wait(response: httpx2.Response) -> float:
    """Return the seconds of Retry-After, a number or a date, or until the rate limit ends; else 0."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    retry_after = response.headers.get("retry-after", "").strip()
    if retry_after.isdigit():
        return float(retry_after)
    if retry_after:
        try:
            return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            pass
    limit = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else 0.0
