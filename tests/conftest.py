"""Shared fixtures: a small corpus on disk, parameters that train in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.entries import Loaded
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters, parse_parameters
from thriftune.corpus.ingest import ingest
from thriftune.corpus.sample import SAMPLE
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.training.seeding import configure_determinism

# The gate searches the same examples each time; `make test-all` draws new ones.
settings.register_profile("gate", derandomize=True)

TINY: dict[str, Any] = {
    "kind": "config",
    "vocabulary_size": 500,
    "hidden_size": 16,
    "layers": 1,
    "attention_heads": 2,
    "intermediate_size": 32,
    "window": 64,
}


def small_parameters(root: Path, **sections: dict[str, Any]) -> Parameters:
    """Parameters of a study that takes seconds, all its folders below root."""
    raw: dict[str, Any] = {
        "corpus": {
            "root": str(root / "corpora"),
            "cache": str(root / "tokens"),
            "source": "files",
            "files": {"posts": str(root / "posts.csv"), "annotations": str(root / "annotations.csv")},
        },
        "encoder": "tiny",
        "encoders": {"tiny": TINY},
        "training": {
            "epochs": 2,
            "batch_size": 8,
            "max_length": 64,
            "overlap": 8,
            "learning_rate": 5e-3,
            "threads": 1,
            "device": "cpu",
        },
        "study": {"name": "small", "trials": 3},
        "search": {
            "space": {
                "training.learning_rate": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
                "model.criteria_agent.loss": {"type": "categorical", "choices": ["bce", "focal"]},
            }
        },
        "storage": {"root": str(root / "models"), "max_total_size": "50MB", "free_disk_watermark": 0.0},
        "evaluation": {"bootstrap_samples": 50},
        "tracking": {"root": str(root / "tracking")},
        "observe": {"log_root": str(root / "logs")},
    }
    for name, section in sections.items():
        raw[name] = {**raw.get(name, {}), **section} if isinstance(section, dict) else section
    return parse_parameters(raw)


def write_small_tables(root: Path, posts: int = 90) -> None:
    """The first posts of the sample as tables of their own."""
    lines = (SAMPLE / "posts.csv").read_text(encoding="utf-8")
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(lines)))[:posts]
    kept = {row["post_id"] for row in rows}
    text = (SAMPLE / "annotations.csv").read_text(encoding="utf-8")
    annotations = [row for row in csv.DictReader(io.StringIO(text)) if row["post_id"] in kept]
    for name, table in (("posts.csv", rows), ("annotations.csv", annotations)):
        with (root / name).open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(table[0]))
            writer.writeheader()
            writer.writerows(table)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with small tables in it."""
    write_small_tables(tmp_path)
    return tmp_path


@pytest.fixture
def small_corpus(small: Path) -> Corpus:
    """The small corpus, ingested."""
    parameters = small_parameters(small)
    return ingest(parameters.corpus, CorpusStore(Path(parameters.corpus.root)), lambda line: None)


def make_checkpoint(
    epoch: int = 1, value: float | None = 0.5, trial: int = 0, fill: float = 1.0, size: int = 256
) -> Checkpoint:
    """A checkpoint with recognisable tensors."""
    weights = torch.full((size,), fill + epoch)
    return Checkpoint(
        study="study-00000000",
        trial=trial,
        trial_id=f"{trial:08x}",
        epoch=epoch,
        step=epoch * 10,
        value=value,
        metrics={"joint.f1_micro": value},
        model={"weight": weights, "bias": torch.arange(3)},
        optimizer={"weight/exp_avg": weights * 2, "weight/step": torch.tensor(float(epoch))},
        state={"best_value": value, "counters": [1, 2]},
        signature={"architecture": "Toy", "criteria": ["A"]},
        data_fingerprint="0" * 64,
    )


def newest_valid(store: CheckpointStore, signature: Mapping[str, Any]) -> Loaded | None:
    """What trial 0 would go on from, held against the signature of its model."""
    loaded = store.newest_whole(0)
    if loaded is not None:
        store.check(loaded.entry, signature)
    return loaded


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device on which training is exact; CUDA's with the settings of a study."""
    found = torch.device(request.param)
    if found.type == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device here")
        configure_determinism(torch.get_num_threads(), found)
    return found
