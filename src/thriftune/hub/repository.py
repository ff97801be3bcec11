"""A repository of the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Repository:
    """A repository at a revision."""

    kind: Literal["model", "dataset"]
    id: str
    """owner/name."""
    revision: str = "main"
    """Branch, tag or commit."""
    where: str = ""
    """The parameter that names it, for messages."""

    def __str__(self) -> str:
        return f"the {'data set' if self.kind == 'dataset' else 'model'} {self.id}"

    @property
    def page(self) -> str:
        """The path of its page."""
        return f"datasets/{self.id}" if self.kind == "dataset" else self.id

    @property
    def folder(self) -> str:
        """The name of its folder in the cache of huggingface_hub."""
        return f"{self.kind}s--{self.id.replace('/', '--')}"
