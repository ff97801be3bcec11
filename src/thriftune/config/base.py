"""What every parameter model shares: frozen, no unknown key, no silent coercion of text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A frozen section of the parameters that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _refuse_numbers(value: Any) -> Any:
    if value is None:
        raise ValueError("expected text, got nothing")
    if isinstance(value, bool | int | float):
        raise ValueError(
            f"expected text, got the {type(value).__name__} {value!r}; "
            f"to pass it as text, quote it twice: --params \"KEY='{value}'\""
        )
    return value


def _split_list(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(";") if part.strip()]
    return value


Text = Annotated[str, BeforeValidator(_refuse_numbers)]
"""A text parameter; a value that Kedro's --params turned into a number is refused."""

TextList = Annotated[tuple[Text, ...], BeforeValidator(_split_list)]
"""A list of texts; one string is split at ';' because --params cannot pass a list of two."""
