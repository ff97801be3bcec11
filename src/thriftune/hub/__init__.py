"""The one way to the Hugging Face hub: the cache first, then patiently, and clear about what is missing."""

from thriftune.hub.access import Hub, Snapshot
from thriftune.hub.repository import Repository

__all__ = ["Hub", "Repository", "Snapshot"]
