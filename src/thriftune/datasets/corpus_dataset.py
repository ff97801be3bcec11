"""The ingested corpora as catalog entries: all of them, and the current one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from pydantic import JsonValue

from thriftune import corpus

if TYPE_CHECKING:
    from thriftune.corpus import Corpus, CorpusStore


class CorporaDataset(AbstractDataset[None, Any]):
    """Loads a handle on the folder of ingested corpora.

    corpora:
      type: thriftune.datasets.corpus_dataset.CorporaDataset
      filepath: data/03_primary
    """

    def __init__(self, *, filepath: str, metadata: dict[str, JsonValue] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> CorpusStore:
        """Return the store of corpora below filepath."""
        return corpus.CorpusStore(self._filepath)

    def save(self, data: None) -> None:
        """Refuse: the ingest node writes corpora through the loaded handle.

        Args:
            data: Nothing.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("corpora are written through the loaded handle")

    def _describe(self) -> dict[str, JsonValue]:
        return {"filepath": str(self._filepath)}


class CorpusDataset(AbstractDataset[Any, Any]):
    """The corpus that was ingested last: a handle, read split by split.

    corpus:
      type: thriftune.datasets.corpus_dataset.CorpusDataset
      filepath: data/03_primary
    """

    def __init__(self, *, filepath: str, metadata: dict[str, JsonValue] | None = None) -> None:
        self._filepath = Path(filepath)
        self._saved: Corpus | None = None
        self.metadata = metadata

    def load(self) -> Corpus:
        """Return the corpus that this run has ingested, whatever another run ingests meanwhile.

        In a run without ingest it is the one that `current.json` names.
        """
        return self._saved or corpus.CorpusStore(self._filepath).current()

    def save(self, data: Corpus) -> None:
        """Note which corpus is the current one; its files were written by ingest.

        Args:
            data: The corpus.
        """
        corpus.CorpusStore(self._filepath).set_current(data)
        self._saved = data

    def _exists(self) -> bool:
        return (self._filepath / "current.json").exists()

    def _describe(self) -> dict[str, JsonValue]:
        return {"filepath": str(self._filepath)}
