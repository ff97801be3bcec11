"""Mask secrets in all text that leaves the process."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from thriftune.errors import ConfigError

MASK = "[redacted]"

_NAME = r"[\w-]*(?:password|passwd|passphrase|pwd|secret|token|(?:api|access|account)[_-]?key|signature)"
_QUOTE = r"(?:\\*[\"'])?"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9]{10,}",  # the hub
        r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}",  # headers
        r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*",  # JSON web tokens
        r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}",  # providers of models
        r"(?<![A-Za-z0-9])(?:gh[oprsu]|github_pat|glpat|xox[abeprs])[_-][A-Za-z0-9_-]{10,}",
        r"(?<![A-Za-z0-9])A(?:KI|SI)A[0-9A-Z]{16}(?![A-Za-z0-9])",  # Amazon
        r"(?<![A-Za-z0-9])AIza[\w-]{30,}",  # Google
        rf"(?i)(?<![\w-])({_NAME}{_QUOTE}\s*(?:=>?|:)\s*{_QUOTE})[^\s\"',;&\\]{{4,}}",
        rf"(?i)(?<![\w-])(--?{_NAME}\s+{_QUOTE})[^\s\"'\\-][^\s\"'\\]{{3,}}",  # options of a command line
        r"(?i)([?&;](?:sig|key|code)=)[^\s\"'&]{8,}",  # signed URLs
        r"(?i)\b([a-z][a-z0-9+.-]{0,20}://[^\s:/@]*:)(?!\d+(?:/|\Z|\s))[^\s\"'<>]{1,200}(?=@)",  # URLs
        r"(?<![\w.+-])(?<!://)[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?!\w)",  # e-mail, not a URL's user
    )
)
_WORD = re.compile(r"[^\s\"'<>,;()\[\]{}]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}|\\u00[0-9A-Fa-f]{2}")


class Sanitiser:
    """Masks secrets: tokens, keys and passwords, passwords in URLs, e-mail addresses, and the user's own.

    What is named as a secret is masked too (`password=...`). Hashes, uuids, numbers and paths stay readable.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Compile the user's own patterns.

        Args:
            patterns: Regular expressions, the parameter observe.redact.

        Raises:
            ConfigError: One is not a regular expression.
        """
        own = []
        for number, pattern in enumerate(patterns):
            try:
                own.append(re.compile(pattern))
            except re.error as error:
                raise ConfigError(
                    f"entry {number} is not a regular expression: {error}",
                    where="observe.redact",
                    remedy="correct the pattern.",
                ) from error
        self._own = tuple(own)

    def clean(self, text: str) -> str:
        """Return a text with every secret masked, also one in percent, JSON or base64 encoding.

        Args:
            text: The text.
        """
        cleaned = self._clean(text)
        if _ESCAPED.search(cleaned):
            cleaned = _WORD.sub(self._unescaped, cleaned)
        return _BASE64.sub(self._decoded, cleaned)

    def _clean(self, text: str) -> str:
        for pattern in _PATTERNS:
            text = pattern.sub(lambda m: (m.group(1) if m.lastindex else "") + MASK, text)
        for pattern in self._own:
            text = pattern.sub(MASK, text)
        return text

    def _unescaped(self, word: re.Match[str]) -> str:
        """Return a word as it is, or unescaped and masked where it holds a secret."""
        plain = re.sub(r"\\u00([0-9A-Fa-f]{2})", r"%\1", word.group())
        plain = unquote(plain)
        cleaned = self._clean(plain)
        return word.group() if cleaned == plain else cleaned

    def _decoded(self, word: re.Match[str]) -> str:
        """Return a word as it is, or the mask where it is base64 of a text with a secret."""
        encoded = word.group().rstrip("=").replace("-", "+").replace("_", "/")
        try:
            plain = b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8")
        except ValueError:
            return word.group()
        return word.group() if self._clean(plain) == plain else MASK

    def clean_value(self, value: Any) -> Any:
        """Return a value of JSON with every text in it cleaned, keys too.

        Args:
            value: The value; what JSON has no form for is returned as it is.
        """
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {self.clean_value(key): self.clean_value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_value(item) for item in value]
        return value
