"""Tensors to a file past the page cache: the same bytes and hash as plainly."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thriftune import files
from thriftune.checkpoints import hashing, writing
from thriftune.checkpoints.hashing import write_hashed
from thriftune.checkpoints.tensors import read_verified, serialise, tensors_in

pytestmark = pytest.mark.unit
BUFFER = 4 * files.BLOCK_BYTES


@pytest.mark.parametrize(
    "size", [0, 1, 4095, 4096, BUFFER - 1, BUFFER, BUFFER + 1, 5 * BUFFER, 5 * BUFFER + 4097]
)
def test_direct_writes_put_the_same_bytes_there(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever the sizes of pieces and file: whole buffers, aligned rests, an unaligned end."""
    monkeypatch.setattr(hashing, "DIRECT_BYTES", BUFFER)
    chance = random.Random(size)
    content = chance.randbytes(size)
    pieces, start = [], 0
    while start < size:
        end = min(size, start + chance.randint(1, 2 * BUFFER))
        pieces.append(content[start:end])
        start = end
    path = on_disk / "file"
    with files.NewFile(path, direct=True) as handle:
        assert handle.direct
        fact = write_hashed(handle, iter(pieces))
        handle.sync()
    assert path.read_bytes() == content
    assert (fact.size, fact.sha256) == (size, hashlib.sha256(content).hexdigest())


def test_where_the_file_system_refuses_direct_writes_they_are_buffered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tmpfs does."""

    def refuse(path: Path, flags: int, *more: int) -> int:
        raise OSError(22, os.strerror(22))

    monkeypatch.setattr(os, "open", refuse)
    with files.NewFile(tmp_path / "file", direct=True) as handle:
        monkeypatch.undo()
        assert not handle.direct
        fact = write_hashed(handle, iter([b"abc"]))
    assert fact.sha256 == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_large_tensors_are_what_safetensors_reads(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    """Written by two threads, and read back by ours and by the library."""
    values = {"a": torch.randn(300_001), "b": torch.arange(7), "c": torch.empty(0), "d": torch.tensor(2.0)}
    monkeypatch.setattr(hashing, "DIRECT_BYTES", BUFFER)
    fact = writing.write_file(on_disk / "file", serialise(values), direct=direct)
    ours, theirs = tensors_in(read_verified(on_disk / "file", fact)), load_file(on_disk / "file")
    for name, tensor in values.items():
        assert torch.equal(ours[name], tensor)
        assert torch.equal(theirs[name], tensor)
