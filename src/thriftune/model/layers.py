"""The encoder layer that a parameter belongs to, by its name in the dual agent."""

from __future__ import annotations

import re
from collections.abc import Iterable

ENCODER = "encoder."
"""Prefix of the names of the encoder's parameters."""
_NUMBERED = re.compile(r"encoder\.(?:.+?\.)?(\d+)\.")


def encoder_layer(name: str) -> int | None:
    """Return the number of the parameter's layer, 0 for the one next to the embeddings.

    Args:
        name: Name of a parameter of the dual agent.

    Returns:
        None for embeddings, for what follows the layers, and for heads.
    """
    found = _NUMBERED.match(name)
    return int(found.group(1)) if found else None


def layer_count(names: Iterable[str]) -> int:
    """Return the number of numbered layers of the encoder.

    Args:
        names: Names of all parameters of the dual agent.
    """
    return 1 + max((layer for name in names if (layer := encoder_layer(name)) is not None), default=-1)


def layer_name(name: str) -> str:
    """Return the name of a tensor's layer, such as `encoder.encoder.layer.3` or `encoder.embeddings`.

    Args:
        name: Name of a tensor of the dual agent.
    """
    found = _NUMBERED.match(name)
    return name[: found.end(1)] if found else ".".join(name.split(".")[:2])
