"""The one way to the Hugging Face hub: the cache first, then retries, and clear errors for what is missing.

Every download is of one commit: what a branch or tag stands for is asked once and written down, so that the
same configuration reads the same files later.

    from thriftune.hub import Hub, Repository

    hub = Hub(Path("data/revisions.json"))
    files = hub.snapshot(Repository("dataset", "owner/name"), ["*.csv"])
    files.folder, files.commit
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
