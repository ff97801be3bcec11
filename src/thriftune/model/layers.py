"""Which layer of the encoder a parameter is of, by its name in the dual agent."""

from __future__ import annotations

import re
from collections.abc import Iterable

ENCODER = "encoder."
"""How the names of the encoder's parameters begin."""
_NUMBERED = re.compile(r"encoder\.(?:.+?\.)?(\d+)\.")


def encoder_layer(name: str) -> int | None:
    """The number of the layer from below; None for embeddings, what comes after the layers, and heads."""
    found = _NUMBERED.match(name)
    return int(found.group(1)) if found else None


def layer_count(names: Iterable[str]) -> int:
    """How many numbered layers the encoder has."""
    return 1 + max((layer for name in names if (layer := encoder_layer(name)) is not None), default=-1)


def layer_name(name: str) -> str:
    """`encoder.encoder.layer.3` of a tensor in a numbered layer, `encoder.embeddings` of another."""
    found = _NUMBERED.match(name)
    return name[: found.end(1)] if found else ".".join(name.split(".")[:2])
