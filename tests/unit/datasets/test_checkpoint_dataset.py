"""The catalog's entry of a checkpoint store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog

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
