"""Validates the project's files against their JSON Schemas, without the slow part of importing jsonschema."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

IRI_CHECKER = "rfc3987_syntax"
"""What jsonschema imports for the formats `iri` and `iri-reference` where it is installed, as Jupyter has it.
It builds a grammar while it is imported, which takes one to two seconds; no schema here has these formats."""


@dataclass(frozen=True)
class Violation:
    """Where a value does not follow its schema, and how."""

    place: str
    """Keys and indices from the top, with slashes between them."""
    message: str


def violation(value: Any, schema: Mapping[str, Any]) -> Violation | None:
    """Return the most telling way in which a value does not follow a schema.

    Args:
        value: What `json.loads` returns.
        schema: A schema of draft 2020-12.

    Returns:
        The violation, or None where the value follows the schema.
    """
    errors = _jsonschema.Draft202012Validator(schema).iter_errors(value)
    error = _jsonschema.exceptions.best_match(errors)
    if error is None:
        return None
    return Violation("/".join(map(str, error.absolute_path)) or "the top level", error.message)


def _is_valid_iri(rule: str, text: str) -> bool:
    """Import the real checker and ask it: other code of this process may use the formats."""
    checker = importlib.import_module(IRI_CHECKER)
    return bool(checker.is_valid_syntax(rule, text))


def _import_jsonschema() -> ModuleType:
    """Import jsonschema with a stand-in for the checker, which imports the real one once it is called."""
    if "jsonschema" in sys.modules or IRI_CHECKER in sys.modules or not importlib.util.find_spec(IRI_CHECKER):
        return importlib.import_module("jsonschema")
    stand_in = ModuleType(IRI_CHECKER)
    stand_in.is_valid_syntax = _is_valid_iri  # type: ignore[attr-defined]
    sys.modules[IRI_CHECKER] = stand_in
    try:
        return importlib.import_module("jsonschema")
    finally:
        del sys.modules[IRI_CHECKER]


_jsonschema: Any = _import_jsonschema()
