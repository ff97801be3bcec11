"""What every parameter model shares: frozen, no unknown key, no silent coercion of text, one project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr


class Section(BaseModel):
    """A frozen section of the parameters that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _project: Path | None = PrivateAttr(default=None)
    """The project's folder, no parameter: a dump has paths as the user wrote them."""

    def at(self, root: Path) -> Self:
        """Return a copy, inner sections included, whose relative paths start at the project's folder.

        Args:
            root: The project's folder; a relative one is taken from the current directory, now.
        """
        inner = {name: _at(getattr(self, name), root) for name in type(self).model_fields}
        placed = self.model_copy(update=inner)
        placed._project = root.absolute()
        return placed

    def resolve(self, path: str) -> Path:
        """Return the absolute path of one that is written in this section.

        Args:
            path: Absolute, or relative to the project's folder.

        Raises:
            ValueError: The path is relative, and `at` was not called on the parameters.
        """
        if self._project is not None:
            return self._project / path
        if not Path(path).is_absolute():
            raise ValueError(f"{path!r} is relative to no folder; call `parameters.at(root)` first")
        return Path(path)


def _at(value: Any, root: Path) -> Any:
    if isinstance(value, Section):
        return value.at(root)
    if isinstance(value, Mapping):
        return {key: _at(item, root) for key, item in value.items()}
    return value


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
