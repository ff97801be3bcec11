"""Each file of a checkpoint, spoilt in each way: quarantined or refused, and the older one used."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import make_checkpoint, newest_valid
from tests.support.stores import SIGNATURE, store_at

from thriftune import files
from thriftune.checkpoints.hashing import PARALLEL_BYTES
from thriftune.checkpoints.manifest import MANIFEST, MODEL, OPTIMIZER, STATE
from thriftune.checkpoints.store import CheckpointStore
from thriftune.checkpoints.stored import read_entry
from thriftune.errors import DamageError, NewerFormatError, StudyError

pytestmark = pytest.mark.unit

FILES = (MODEL, OPTIMIZER, STATE, MANIFEST)


def three_epochs(folder: Path, parallel_bytes: int = PARALLEL_BYTES) -> CheckpointStore:
    store = store_at(folder, parallel_bytes, keep_last_n=3)
    store.trials.begin(0)
    for epoch in (1, 2, 3):
        store.save(make_checkpoint(epoch, 0.5 - epoch / 10))
    return store


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lengthened(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def swapped(path: Path) -> None:
    other = path.parent.with_name("epoch_0001") / path.name
    content = other.read_bytes()
    other.write_bytes(path.read_bytes())
    path.write_bytes(content)


def missing(path: Path) -> None:
    path.unlink()


def unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()  # root reads whatever its mode says


def linked(path: Path) -> None:
    outside = path.parents[4] / f"outside-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncated, "expected|no manifest|cannot be read"),
        (lengthened, "expected|cannot be read"),
        (emptied, "expected|cannot be read"),
        (swapped, "expected|epoch"),
        (missing, "missing|cannot be read"),
        (unreadable, "regular file|cannot be read"),
        (linked, "regular file|symbolic link"),
    ],
    ids=["truncated", "lengthened", "emptied", "swapped", "missing", "unreadable", "linked"],
)
def test_a_spoilt_file_is_quarantined_and_the_older_used(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    parallel_bytes: int,
    name: str,
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    """The message names what is wrong; nothing is deleted in silence; no half is loaded."""
    folder = tmp_path / "study"
    store = three_epochs(folder, parallel_bytes)
    newest = store.entries()[-1].path
    spoil(newest / name)
    with pytest.raises(DamageError):
        read_entry(newest).verify(parallel_bytes)
    store.trials.recover_all()
    loaded = newest_valid(store, SIGNATURE)
    assert loaded is not None
    epoch = loaded.entry.manifest.epoch
    assert epoch == 2
    assert float(loaded.model["weight"][0]) == 1.0 + epoch
    assert any(path.name.startswith("quarantine-epoch_0003") for path in newest.parent.iterdir())
    import re

    assert re.search(said, caplog.text)
    assert str(newest.name) in caplog.text


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found_wherever_it_is(tmp_path: Path, parallel_bytes: int, name: str) -> None:
    """At 20 places of each file, by who verifies it and by who loads it."""
    chance = random.Random(name)
    folder = tmp_path / "study"
    three_epochs(folder, parallel_bytes)
    shutil.copytree(folder, tmp_path / "whole")
    for _ in range(20):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)
        store = store_at(folder, parallel_bytes, keep_last_n=3)
        path = store.entries()[-1].path / name
        content = bytearray(path.read_bytes())
        place = chance.randrange(len(content))
        content[place] ^= 1 << chance.randrange(8)
        newest = store.entries()[-1]
        path.write_bytes(bytes(content))
        if name != MANIFEST:  # which is read with the entry
            with pytest.raises(DamageError, match=name):
                store.verify(newest)
        store.trials.recover_all()
        loaded = newest_valid(store, SIGNATURE)
        assert loaded is not None
        assert float(loaded.model["weight"][0]) == 1.0 + loaded.entry.manifest.epoch
        assert loaded.entry.manifest.epoch == 2
        assert [path.name[:21] for path in store.folder.rglob("quarantine-*")] == ["quarantine-epoch_0003"]


def edited(path: Path, **changes: object) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    value.update(changes)
    path.write_text(json.dumps(value), encoding="utf-8")


def test_a_value_that_was_changed_by_hand_is_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A manifest decides which checkpoint is the best, so it states its own checksum."""
    store = three_epochs(tmp_path / "study")
    edited(store.entries()[-1].path / MANIFEST, value=0.99)
    store.trials.recover_all()
    assert [entry.manifest.epoch for entry in store.entries()] == [1, 2]
    assert "checksum" in caplog.text


def test_a_folder_that_leads_out_of_the_store_is_no_checkpoint(tmp_path: Path) -> None:
    """It is set aside as a link; what it leads to is left alone."""
    store = three_epochs(tmp_path / "study")
    newest = store.entries()[-1].path
    newest.rename(tmp_path / "outside")
    newest.symlink_to(tmp_path / "outside")
    store.trials.recover_all()
    assert [entry.manifest.epoch for entry in store.entries()] == [1, 2]
    assert (tmp_path / "outside" / MODEL).exists()


def test_a_manifest_of_another_version_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its fields may mean something else."""
    store = three_epochs(tmp_path / "study")
    edited(store.entries()[-1].path / MANIFEST, format_version=99)
    store.trials.recover_all()
    loaded = newest_valid(store, SIGNATURE)
    assert loaded is not None
    assert loaded.entry.manifest.epoch == 2
    assert "format_version" in caplog.text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"architecture": "Other"}, "architecture: the checkpoint has 'Toy', the model 'Other'"),
        ({"criteria": ["A", "B"]}, r"criteria: the checkpoint has \['A'\], the model \['A', 'B'\]"),
        ({"base": {"id": "other", "tensors": {"w": "0"}}}, "base: the checkpoint has None"),
        ({"tensors": {"weight": ["F32", [9]]}}, r"tensors.weight: the checkpoint has .*256.*, the model .*9"),
        ({"study": "other-00000000"}, "study: the checkpoint has 'study-00000000'"),
    ],
)
def test_a_whole_one_of_another_model_is_refused(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    """With the difference; never set aside, never half-loaded."""
    store = three_epochs(tmp_path / "study")
    with pytest.raises(StudyError, match=said):
        newest_valid(store, {**SIGNATURE, **changed})
    assert len(store.entries()) == 3


def test_a_checkpoint_of_a_newer_format_is_neither_used_nor_set_aside(tmp_path: Path) -> None:
    """Whoever opens the store hears which version is needed; where the checksum does not hold, the version
    itself may be what is damaged."""
    store = three_epochs(tmp_path / "study")
    newest = store.entries()[-1].path
    manifest = {**files.read_json(newest / MANIFEST), "format_version": 2}
    (newest / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(DamageError, match="not a manifest at format_version"):
        read_entry(newest)
    del manifest["checksum"]
    whole = json.dumps({**manifest, "checksum": files.sha256_json(manifest)})
    (newest / MANIFEST).write_text(whole, encoding="utf-8")
    for act in (store.entries, store.trials.recover_all, lambda: store.newest(0)):
        with pytest.raises(NewerFormatError, match="format 2, and this version knows formats up to 1"):
            act()
    assert (newest / MANIFEST).read_text(encoding="utf-8") == whole
