"""Which corpus a study's files were made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from thriftune.json_records import JsonRecord, left_out_if_none

if TYPE_CHECKING:
    from thriftune.corpus.store import Corpus


class DataRevision(JsonRecord):
    """Where the posts came from."""

    source: str | None = left_out_if_none()
    id: str | None = left_out_if_none()
    """The data set's id on the hub."""
    revision: str | None = left_out_if_none()
    """The branch, tag or commit that was asked for."""
    commit: str | None = left_out_if_none()
    """The commit that the revision stood for."""
    sha256: dict[str, str] | None = left_out_if_none()
    """Of every file, by its name."""


class CorpusReference(JsonRecord):
    """A corpus, named by its content."""

    fingerprint: str
    revision: DataRevision = DataRevision()
    counts: dict[str, int] = Field(default_factory=dict)
    """Posts of each split."""


def reference_to(corpus: Corpus) -> CorpusReference:
    """Return what a study's files say of the corpus.

    Args:
        corpus: The corpus that the study uses.
    """
    return CorpusReference(
        fingerprint=corpus.fingerprint,
        revision=DataRevision.model_validate(corpus.revision),
        counts=dict(corpus.counts),
    )
