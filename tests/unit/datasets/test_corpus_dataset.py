"""The corpus of a run, beside other runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from kedro.io import DatasetError

from thriftune.datasets.corpus_dataset import CorpusDataset

pytestmark = pytest.mark.unit


def test_a_run_goes_on_with_the_corpus_that_it_ingested(tmp_path: Path) -> None:
    """Another run ingests other posts before the first one's search begins; a run without ingest takes the
    last."""
    first, second = (SimpleNamespace(fingerprint=letter * 64) for letter in "ab")
    one, other, later = (CorpusDataset(filepath=str(tmp_path)) for _ in range(3))
    one.save(first)
    other.save(second)
    assert one.load() is first
    assert other.load() is second
    with pytest.raises(DatasetError, match="b" * 12):
        later.load()
