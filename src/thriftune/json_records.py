"""JSON files as frozen values: the type of a file's content checks it when it is written and read."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LONGEST_VALUE = 60
"""Characters of a wrong value in a message."""


def left_out_if_none(default: None = None) -> Any:
    """Return a field that the file has only where it has a value.

    Args:
        default: The value where the file has none.
    """
    return Field(default=default, exclude_if=lambda value: value is None)


class JsonRecord(BaseModel):
    """A frozen value of a JSON file. Keys that a later version added are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Return the record that a value of `json.loads` stands for.

        Args:
            value: The value, whole.

        Raises:
            ValueError: With the place inside and what was expected there.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ValueError(_first_problem(error)) from error

    def to_json(self) -> dict[str, JsonValue]:
        """Return the value for `json.dumps`, checked, since a copy with other values was not."""
        value = self.model_dump(mode="json")
        type(self).from_json(value)
        return value

    @classmethod
    def json_schema(cls) -> dict[str, JsonValue]:
        """Return the JSON Schema of the file."""
        return {"$schema": DIALECT, **cls.model_json_schema()}


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = "/".join(map(str, first["loc"])) or "the top level"
    value = first["input"]
    is_scalar = value is None or isinstance(value, bool | int | float | str)
    got = f", got {str(value)[:LONGEST_VALUE]!r}" if is_scalar else ""
    return f"at {place}: {first['msg']}{got}"
