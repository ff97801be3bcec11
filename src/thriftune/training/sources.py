"""Which encoders a configuration names, and the hub that has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from thriftune.config import Choices, Parameters
from thriftune.corpus.sources import PINS
from thriftune.hub import Hub


def hub_of(parameters: Parameters, root: Path = Path()) -> Hub:
    """The hub, with the commits that this project has taken from it."""
    return Hub(root / parameters.corpus.root / PINS)


def named_encoders(parameters: Parameters) -> Iterator[str]:
    """The configured encoder, and those of the search space and the baselines, each once."""
    searched = parameters.search.space.get("encoder")
    names = [
        parameters.encoder,
        *(searched.choices if isinstance(searched, Choices) else ()),
        *(run["encoder"] for run in parameters.search.baselines if "encoder" in run),
    ]
    yield from dict.fromkeys(str(name) for name in names)
