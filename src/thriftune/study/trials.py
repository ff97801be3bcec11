"""A trial of a study: which one it is, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, Self

from pydantic import JsonValue, TypeAdapter

from thriftune.config import Parameters
from thriftune.study.identity import trial_id


@dataclass(frozen=True)
class TrialRef:
    """A trial, by its number and what it trains."""

    number: int
    parameters: Parameters
    """The resolved configuration."""

    @property
    def trial_id(self) -> str:
        """The id that is derived from the configuration."""
        return trial_id(self.parameters)


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended: what its journal records, and what is reported to Optuna."""

    state: Literal["complete", "pruned", "failed"]
    value: float | None = None
    """Of its best saved epoch; None: it failed before it had one."""
    reason: str | None = None
    """Why it failed, or ended before its last epoch."""

    def __post_init__(self) -> None:
        if self.state == "complete" and self.value is None:
            raise ValueError("a trial without a value is not complete")

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Self:
        """Return the end that a journal's record of it states.

        Args:
            record: The record of kind `end`, checksum verified.
        """
        fields = {name: record[name] for name in ("state", "value", "reason")}
        return _trial_end.validate_python(fields)  # type: ignore[return-value]

    def to_record(self) -> dict[str, JsonValue]:
        """Return the fields of the journal's record."""
        return asdict(self)


_trial_end = TypeAdapter(TrialEnd)
