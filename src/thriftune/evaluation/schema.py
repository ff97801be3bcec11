"""The JSON Schemas that the project's files follow; every such file is checked when written and
when read."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from thriftune.errors import DamageError
from thriftune.json_schema import violation

SCHEMAS = Path(__file__).parent / "schemas"


@cache
def load_schema(name: str) -> Any:
    """The schema `evaluation` or `trial`."""
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))


def check(value: Any, name: str, where: str) -> None:
    """DamageError, with the place inside, where a value does not follow its schema."""
    found = violation(value, load_schema(name))
    if found is not None:
        raise DamageError(f"does not follow the {name} schema at {found.place}: {found.message}", where=where)
