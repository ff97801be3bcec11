"""Download from the hub what a configuration needs, so that a machine without internet can run it."""

from __future__ import annotations

from collections.abc import Callable

from thriftune.config import EncoderFromHub, Parameters
from thriftune.corpus.sources import find_sources
from thriftune.hub import Hub
from thriftune.model.encoder_files import folder_of
from thriftune.training.sources import encoder_source, named_encoders


def fetch(parameters: Parameters, hub: Hub, say: Callable[[str], None]) -> None:
    """Download the data set's files and every encoder's that a configuration needs, and nothing else.

    ConfigError is raised where the hub does not have one, UnavailableError where the hub cannot be reached.

    Args:
        parameters: The configuration.
        hub: The hub.
        say: Called with a line for each download.
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
