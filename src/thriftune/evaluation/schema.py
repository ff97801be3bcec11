"""The JSON Schemas that the project's files follow; every such file is checked when written and
when read."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from thriftune.errors import DamageError

SCHEMAS = Path(__file__).parent / "schemas"


@cache
def load_schema(name: str) -> Any:
    """The schema `evaluation` or `trial`."""
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))


def check(value: Any, name: str, where: str) -> None:
    """DamageError, with the place inside, where a value does not follow its schema."""
    validator = jsonschema.Draft202012Validator(load_schema(name))
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if error is not None:
        inside = "/".join(str(part) for part in error.absolute_path) or "the top level"
        raise DamageError(f"does not follow the {name} schema at {inside}: {error.message}", where=where)
