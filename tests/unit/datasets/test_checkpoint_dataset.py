"""The catalog's entry of a checkpoint store."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog
from tests.conftest import make_checkpoint

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("given", "size"), [({}, 64 * 2**20), ({"parallel_bytes": 0}, 0)], ids=["by default", "as given"]
)
def test_an_entry_says_which_checkpoints_are_large(tmp_path: Path, given: dict[str, Any], size: int) -> None:
    """From which size on two files are written at a time; 64 MiB where nothing is said."""
    entry = {
        "type": "thriftune.datasets.checkpoint_dataset.CheckpointDataset",
        "filepath": str(tmp_path),
        "study": "small",
        **given,
    }
    assert DataCatalog.from_config({"checkpoints": entry}).load("checkpoints").parallel_bytes == size


def test_two_entries_with_the_same_settings_are_one_store(tmp_path: Path) -> None:
    """What one entry saves is protected through the other, which training reads from: the newest of the
    running trial is kept though it is worse than the study's best."""
    entry = {
        "type": "thriftune.datasets.checkpoint_dataset.CheckpointDataset",
        "filepath": str(tmp_path),
        "study": "small",
        "policy": {"free_disk_watermark": 0.0},
    }
    catalog = DataCatalog.from_config(
        {"reading": entry, "saving": entry, "other": {**entry, "policy": {"keep_last_n": 2}}}
    )
    reading = catalog.load("reading")
    assert catalog.load("saving") is reading
    assert catalog.load("other") is not reading
    reading.trials.begin(0)
    for epoch, value in ((1, 0.9), (2, 0.2), (3, 0.1)):
        catalog.save("saving", replace(make_checkpoint(epoch, value), study=reading.study))
    assert [entry.epoch for entry in reading.entries()] == [1, 3]
    newest = reading.newest(0)
    assert newest is not None
    assert newest.epoch == 3


def test_a_store_goes_with_its_last_catalog(tmp_path: Path) -> None:
    """A catalog that is made later has a store of its own, in which no trial of an earlier one is running."""
    config = {
        "checkpoints": {
            "type": "thriftune.datasets.checkpoint_dataset.CheckpointDataset",
            "filepath": str(tmp_path),
            "study": "small",
        }
    }
    first = weakref.ref(DataCatalog.from_config(config).load("checkpoints"))
    gc.collect()
    assert first() is None
