"""Download from the hub what a configuration needs, so that a machine without internet can run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from thriftune.config import Choices, EncoderFromHub, Parameters
from thriftune.corpus.sources import PINS, find_sources
from thriftune.hub import Hub
from thriftune.model.encoder import resolve_encoder
from thriftune.model.encoder_files import folder_of


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


def fetch(parameters: Parameters, root: Path, hub: Hub, say: Callable[[str], None]) -> None:
    """The data set's files and every encoder's, and nothing else; a line for each.

    Raises ConfigError where the hub does not have one, UnavailableError where it cannot be had.
    """
    found = False
    if parameters.corpus.source == "hub":
        sources = find_sources(parameters.corpus, hub)
        say(f"data set {parameters.corpus.hub.id} at {sources.commit}: {sources.folder}")
        found = True
    for name in named_encoders(parameters):
        source = resolve_encoder(name, parameters.encoders, root)
        if isinstance(source, EncoderFromHub):
            say(f"encoder {name}: {folder_of(source, hub)}")
            found = True
    if not found:
        say("this configuration needs nothing of the hub")
