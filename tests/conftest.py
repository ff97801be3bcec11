"""Shared fixtures: a small corpus on disk, parameters that train in seconds."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from thriftune.project.environment import OPTIONS

os.environ.update(OPTIONS)  # as every command does, before the libraries are imported

from tests.databases import copy_mlflow_tables
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.store import CheckpointStore
from thriftune.checkpoints.stored import LoadedCheckpoint
from thriftune.config import Parameters, parse_parameters
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.sources import SAMPLE
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.training.seeding import configure_determinism

# `make test` tries the same few examples each time; where no profile is named, as in `make test-all`, more
# are drawn anew. None has a deadline: beside busy processes any example may take long.
settings.register_profile("gate", max_examples=250, derandomize=True, deadline=None)
settings.register_profile("many", max_examples=1500, deadline=None)
settings.load_profile("many")

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4_000_000_000
"""Free bytes that a file system in memory must have to hold the temporary files; they need under 2 GB."""
LONGEST_FIRST = (
    "test_outage",
    "test_workers",
    "test_commands",
    "test_search",
    "test_torture",
    "test_kill",
    "test_contributing",
    "test_storage",
    "test_failures",
    "test_from_the_hub",
    "test_optuna_study",
    "test_terminal",
    "test_mistakes",
    "test_disk_full",
    "test_tutorial",
    "test_eta",
    "test_formats",
    "test_waiting",
    "test_processes",
    "test_no_text",
    "test_growth",
    "test_dashboards",
    "test_report_in_a_browser",
    "test_encoder",
    "test_time_limits",
)
"""The modules that take longest: started first, so that the workers end at about the same time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--part 2/4`: the second quarter of the tests."""
    parser.addoption("--part", help="K/N: run the K-th of N parts of the tests, counted from 1")


def pytest_configure() -> None:
    """Keep temporary files in memory where there is room: thousands of fsyncs cost minutes on a disk."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests with a common costly fixture together, the longest modules first; select `--part`."""
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    for item in items:
        if _has_module_fixture(item):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.no_cover)  # hundreds of times through lines that others cover
    if part := config.getoption("part"):
        wanted, parts = map(int, part.split("/"))
        left_out = [item for item in items if _part_of(item, parts) != wanted]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _part_of(item, parts) == wanted]


def _has_module_fixture(item: pytest.Item) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    return any(each[-1].scope == "module" for each in definitions)


def _part_of(item: pytest.Item, parts: int) -> int:
    """1 to parts, the same at every run; the tests of a group fall into one part."""
    unit = item.path.stem if _has_module_fixture(item) else item.nodeid
    return zlib.crc32(unit.encode()) % parts + 1


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(inode, size) of every file and folder that a call of os.fsync made durable, in order."""
    calls: list[tuple[int, int]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        fact = os.fstat(descriptor)
        calls.append((fact.st_ino, fact.st_size))

    monkeypatch.setattr(os, "fsync", note)
    return calls


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
    return parse_parameters(raw, root=root)


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
    copy_mlflow_tables(tmp_path / "tracking")
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


def newest_valid(store: CheckpointStore, signature: Mapping[str, Any]) -> LoadedCheckpoint | None:
    """What trial 0 would go on from, held against the signature of its model."""
    loaded = store.newest(0)
    if loaded is not None:
        store.catalogue.check(loaded.entry, signature)
    return loaded


DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def pytest_report_header() -> str:
    """Say on which devices the tests of training run."""
    return f"devices: {', '.join(DEVICES)}"


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Return each device of this machine on which training is exact; CUDA's with the settings of a study."""
    found = torch.device(request.param)
    if found.type == "cuda":
        configure_determinism(torch.get_num_threads(), found)
    return found
