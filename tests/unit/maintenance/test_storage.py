"""Verify and clean, on checkpoints that were damaged by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import make_checkpoint

from thriftune import files
from thriftune.config import StorageConfig
from thriftune.errors import RefusedError
from thriftune.maintenance.storage import clean, verify_all
from thriftune.study.file_locks import StudyLock
from thriftune.study.layout import JOURNAL
from thriftune.study.storage import open_store

pytestmark = pytest.mark.unit


def made(root: Path) -> Path:
    """Two committed checkpoints of one study; their folder."""
    folder = root / "study_s"
    store = open_store(folder, "s", StorageConfig(keep_last_n=2, free_disk_watermark=0))
    store.trials.begin(0)
    for epoch in (1, 2):
        store.save(replace(make_checkpoint(epoch=epoch), study="s"))
    (folder / "study.json").write_text("{}", encoding="utf-8")
    return folder / "trials" / "trial_0000_00000000" / "checkpoints"


def test_every_damaged_file_is_named(tmp_path: Path) -> None:
    """One flipped bit, one missing file, one garbled manifest."""
    checkpoints = made(tmp_path)
    assert verify_all(tmp_path) == []
    model = checkpoints / "epoch_0001" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    (checkpoints / "epoch_0002" / "manifest.json").write_text("{", encoding="utf-8")
    found = verify_all(tmp_path)
    assert [Path(row.file).name for row in found] == ["model.safetensors", "manifest.json"]
    assert "expected" in found[0].problem


def test_clean_deletes_what_no_study_needs_and_only_when_told(tmp_path: Path) -> None:
    """Temporaries, quarantine and orphans; a study that is at work is left alone."""
    checkpoints = made(tmp_path)
    for name in (".tmp-epoch_0003", "quarantine-epoch_0001-1"):
        (checkpoints / name).mkdir()
        (checkpoints / name / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "study_orphan").mkdir()
    with StudyLock(tmp_path / "study_s"):
        assert [row.kind for row in clean(tmp_path, really=True)] == ["orphan: no study.json"]
    rows = clean(tmp_path, really=False)
    assert [(row.kind, row.bytes) for row in rows] == [("temporary", 5), ("quarantined", 5)]
    assert clean(tmp_path, really=True) == rows
    assert clean(tmp_path, really=True) == []
    assert verify_all(tmp_path) == []
    assert len(list(checkpoints.iterdir())) == 2


def test_clean_keeps_a_study_that_has_lost_its_record(tmp_path: Path) -> None:
    """Its metrics and checkpoints are there, and study.json may be put back; `study delete` removes it."""
    trial = made(tmp_path).parent
    (trial / JOURNAL).write_bytes(b"")
    (tmp_path / "study_s" / "study.json").unlink()
    assert clean(tmp_path, really=True) == []
    assert (trial / JOURNAL).exists()


def test_no_run_starts_while_clean_deletes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study is held from the first deletion to the last."""
    checkpoints = made(tmp_path)
    (checkpoints / ".tmp-epoch_0003").mkdir()
    (checkpoints / ".tmp-epoch_0003" / "model.safetensors").write_bytes(b"12345")
    refused = []

    def start_a_run(event: files.Event) -> None:
        if event.operation in ("unlink", "rmdir"):
            with pytest.raises(RefusedError, match="another process is working on this study"):
                StudyLock(tmp_path / "study_s").__enter__()
            refused.append(event.path.name)

    monkeypatch.setattr(files, "observer", start_a_run)
    clean(tmp_path, really=True)
    assert refused == ["model.safetensors", ".tmp-epoch_0003"]
