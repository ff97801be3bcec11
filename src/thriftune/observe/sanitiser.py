"""Masks secrets in all text that leaves the process (SPEC 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from thriftune.errors import ConfigError

MASK = "[redacted]"

_PATTERNS = (
    re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{10,}"),  # hub token
    re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"),  # API keys of common providers
    re.compile(r"\b(?:ghp|gho|ghs|ghu|github_pat|glpat|xox[abprs])[_-][A-Za-z0-9_-]{10,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"(?i)\b((?:api[_-]?key|secret|token|passwd|password)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{4,}"),
    re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+(?=@)"),  # password in a URL
    re.compile(r"(?<![\w.+-])(?<!://)[\w.+-]+@[\w-]+\.[\w.-]*\w"),  # e-mail address, not a URL's user
)


class Sanitiser:
    """Masks hub and bearer tokens, API keys, passwords in URLs, e-mail addresses, and what the user's
    own patterns match. Hashes, uuids and paths stay readable."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        own = []
        for number, pattern in enumerate(patterns):
            try:
                own.append(re.compile(pattern))
            except re.error as error:
                raise ConfigError(
                    f"entry {number} is no regular expression: {error}",
                    where="observe.redact",
                    remedy="correct the pattern.",
                ) from error
        self._own = tuple(own)

    def clean(self, text: str) -> str:
        """The text with every secret masked."""
        for pattern in _PATTERNS:
            text = pattern.sub(lambda m: (m.group(1) if m.lastindex else "") + MASK, text)
        for pattern in self._own:
            text = pattern.sub(MASK, text)
        return text

    def clean_value(self, value: Any) -> Any:
        """A JSON-like value with every text in it cleaned."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {key: self.clean_value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_value(item) for item in value]
        return value
