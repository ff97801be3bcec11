"""Download from the hub what a configuration needs, so that a machine without internet can run it."""

from __future__ import annotations

from collections.abc import Callable

from thriftune.config import EncoderFromHub, Parameters
from thriftune.corpus.sources import find_sources
from thriftune.hub import Hub
from thriftune.model.encoder_files import folder_of
from thriftune.training.sources import encoder_source, named_encoders


def fetch(parameters: Parameters, hub: Hub, say: Callable[[str], None]) -> None:
    """The data set's files and every encoder's, and nothing else; a line for each.

    Raises ConfigError where the hub does not have one, UnavailableError where it cannot be had.
    """
    found = False
    if parameters.corpus.source == "hub":
        sources = find_sources(parameters.corpus, hub)
        say(f"data set {parameters.corpus.hub.id} at {sources.commit}: {sources.folder}")
        found = True
    for name in named_encoders(parameters):
        source = encoder_source(parameters, name)
        if isinstance(source, EncoderFromHub):
            say(f"encoder {name}: {folder_of(source, hub)}")
            found = True
    if not found:
        say("this configuration needs nothing of the hub")
