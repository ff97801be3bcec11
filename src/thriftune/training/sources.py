"""Which encoders a configuration names, and the hub that has them."""

from __future__ import annotations

from collections.abc import Iterator

from thriftune.config import Choices, CorpusConfig, EncoderSource, Parameters
from thriftune.corpus.sources import PINS
from thriftune.hub import Hub
from thriftune.model.encoder import resolve_encoder


def hub_of(corpus: CorpusConfig) -> Hub:
    """Return the hub, with the commits that this project has taken from it.

    Args:
        corpus: The parameters of the corpus, below whose root the commits are recorded.
    """
    return Hub(corpus.folder / PINS)


def encoder_source(parameters: Parameters, name: str | None = None) -> EncoderSource:
    """Return where an encoder comes from.

    Args:
        parameters: The catalogue of encoders, and the project where a relative directory starts.
        name: An entry of the catalogue, a directory, or an id of the hub. None: the configured encoder.
    """
    name = parameters.encoder if name is None else name
    root = None if name in parameters.encoders else parameters.project_folder
    return resolve_encoder(name, parameters.encoders, root)


def named_encoders(parameters: Parameters) -> Iterator[str]:
    """Yield the configured encoder, and those of the search space and the baselines, each once.

    Args:
        parameters: The study's.
    """
    searched = parameters.search.space.get("encoder")
    names = [
        parameters.encoder,
        *(searched.choices if isinstance(searched, Choices) else ()),
        *(run["encoder"] for run in parameters.search.baselines if "encoder" in run),
    ]
    yield from dict.fromkeys(str(name) for name in names)
