"""Named tensors to a safetensors file, hashed while it is written, without a second copy of them."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

import torch

from thriftune import files
from thriftune.checkpoints.manifest import FileFact
from thriftune.errors import DamageError

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_TORCH = {name: dtype for dtype, name in _DTYPES.items()}
CHUNK_BYTES, READ_BYTES = 16 << 20, 4 << 20
SMALL_BYTES = 1 << 20
PARALLEL_BYTES = 64 << 20
"""A checkpoint of so many bytes has its two large files handled beside each other, by default."""
DIRECT_BYTES = 32 << 20
"""One of the two buffers of a direct write."""
FLUSH_BYTES = 256 << 20
"""The disk is set to work after so many bytes."""


def describe(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[Any]]:
    """name: [dtype, shape], sorted by name."""
    return {name: [_DTYPES[t.dtype], list(t.shape)] for name, t in sorted(tensors.items())}


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of the values alone."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def serialise(tensors: Mapping[str, torch.Tensor]) -> Iterator[memoryview | bytes]:
    """The bytes of a safetensors file in pieces; no time, host or path stands in its header.

    A tensor of another device is copied to the CPU when its turn comes, so at most the largest one is held
    twice.
    """
    header: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape) in describe(tensors).items():
        size = tensors[name].numel() * tensors[name].element_size()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in header:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            raw = memoryview(flat.view(torch.uint8).numpy().data)
            for start in range(0, len(raw), CHUNK_BYTES):
                yield raw[start : start + CHUNK_BYTES]


def write_hashed(handle: files.NewFile, pieces: Iterator[memoryview | bytes]) -> FileFact:
    """Write the pieces and return size and SHA-256 of what was written, in one pass.

    A piece is hashed beside its write (both leave the interpreter's lock), and the bytes go to the disk
    while the next are written, so the final fsync finds little left to do.
    """
    if handle.direct:
        return _write_direct(handle, pieces)
    digest, size, flushed = hashlib.sha256(), 0, 0
    with ThreadPoolExecutor(1) as hasher, ThreadPoolExecutor(1) as flusher:
        flush: Future[None] | None = None
        for piece in _gathered(pieces):
            hashing = hasher.submit(digest.update, piece)
            handle.write(piece)
            hashing.result()
            size += len(piece)
            if size - flushed >= FLUSH_BYTES and (flush is None or flush.done()):
                if flush is not None:
                    flush.result()
                flush, flushed = flusher.submit(os.fdatasync, handle.fileno()), size
        if flush is not None:
            flush.result()
    return FileFact(size, digest.hexdigest())


def _write_direct(handle: files.NewFile, pieces: Iterator[memoryview | bytes]) -> FileFact:
    """As write_hashed, past the page cache: no copy into it, nothing left for fsync, and what the machine
    caches for others stays cached. Two aligned buffers take turns: one is filled while the other is hashed
    and written."""
    digest, size, turn = hashlib.sha256(), 0, 0
    buffers = [memoryview(mmap.mmap(-1, DIRECT_BYTES)) for _ in range(2)]
    busy: list[list[Future[None]]] = [[], []]
    filled = 0
    with ThreadPoolExecutor(1) as hasher, ThreadPoolExecutor(1) as writer:
        for piece in pieces:
            rest = memoryview(piece)
            size += len(rest)
            while rest:
                if not filled:
                    _wait(busy[turn])
                count = min(len(rest), DIRECT_BYTES - filled)
                buffers[turn][filled : filled + count] = rest[:count]
                rest, filled = rest[count:], filled + count
                if filled == DIRECT_BYTES:
                    whole = buffers[turn]
                    busy[turn] = [hasher.submit(digest.update, whole), writer.submit(handle.write, whole)]
                    turn, filled = 1 - turn, 0
        for futures in busy:
            _wait(futures)
    last = buffers[turn][:filled]
    digest.update(last)
    aligned = filled - filled % files.BLOCK_BYTES
    if aligned:
        handle.write(last[:aligned])
    handle.end_direct()
    if filled > aligned:
        handle.write(last[aligned:])
    return FileFact(size, digest.hexdigest())


def _wait(futures: list[Future[None]]) -> None:
    while futures:
        futures.pop().result()


def _gathered(pieces: Iterator[memoryview | bytes]) -> Iterator[memoryview | bytes]:
    """Small pieces joined, large ones as they are: few system calls, no copy of what is large."""
    small = bytearray()
    for piece in pieces:
        if len(piece) < SMALL_BYTES:
            small += piece
            if len(small) < SMALL_BYTES:
                continue
            yield bytes(small)
        else:
            if small:
                yield bytes(small)
            yield piece
        small.clear()
    if small:
        yield bytes(small)


def read_verified(path: Path, fact: FileFact) -> torch.Tensor:
    """A file's bytes [size] uint8, read once and hashed beside the reading; DamageError where they are not
    what the manifest says."""
    _check_size(path, fact)
    content = torch.empty(fact.size, dtype=torch.uint8)
    whole = memoryview(content.numpy().data)
    _check_hash(path, fact, (whole[start : start + READ_BYTES] for start in range(0, fact.size, READ_BYTES)))
    return content


def verify_file(path: Path, fact: FileFact) -> None:
    """Read and hash a file through two buffers, whatever its size.

    Raises:
        DamageError: It is not what the manifest says.
    """
    _check_size(path, fact)
    buffers = [memoryview(bytearray(min(READ_BYTES, fact.size))) for _ in range(2)]
    starts = enumerate(range(0, fact.size, READ_BYTES))
    _check_hash(path, fact, (buffers[turn % 2][: fact.size - start] for turn, start in starts))


def _check_size(path: Path, fact: FileFact) -> None:
    with _unreadable_is_damaged(path):
        if path.is_symlink() or not path.is_file():
            raise DamageError("is missing, or no regular file", where=str(path))
        size = path.stat().st_size
    if size != fact.size:
        raise DamageError(
            f"expected {fact.size} bytes of SHA-256 {fact.sha256}, found {size} bytes", where=str(path)
        )


def _check_hash(path: Path, fact: FileFact, room: Iterable[memoryview]) -> None:
    """Read the file into `room`, a piece hashed while the next is read; a piece may be used again after one
    more."""
    digest = hashlib.sha256()
    hashing: Future[None] | None = None
    with (
        _unreadable_is_damaged(path),
        path.open("rb", buffering=0) as handle,
        ThreadPoolExecutor(1) as hasher,
    ):
        for piece in room:
            count = _fill(handle, piece)
            if hashing is not None:
                hashing.result()
            hashing = hasher.submit(digest.update, piece[:count])
        if hashing is not None:
            hashing.result()
    if digest.hexdigest() != fact.sha256:
        raise DamageError(
            f"expected {fact.size} bytes of SHA-256 {fact.sha256}, found {digest.hexdigest()}",
            where=str(path),
        )


def _fill(handle: RawIOBase, piece: memoryview) -> int:
    """Read until the piece is full or the file ends; the number of bytes."""
    filled = 0
    while filled < len(piece):
        count = handle.readinto(piece[filled:])
        if not count:
            break
        filled += count
    return filled


@contextmanager
def _unreadable_is_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DamageError(f"cannot be read: {error}", where=str(path)) from error


def tensors_in(content: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file's verified bytes: views of them where they are aligned."""
    length = int.from_bytes(bytes(content[:8].numpy()), "little")
    header = json.loads(bytes(content[8 : 8 + length].numpy()))
    values = content[8 + length :]
    found = {}
    for name, fact in header.items():
        dtype, (start, end) = _TORCH[fact["dtype"]], fact["data_offsets"]
        raw = values[start:end]
        if (raw.data_ptr() if raw.numel() else 0) % dtype.itemsize:
            raw = raw.clone()
        found[name] = (
            raw.view(dtype).reshape(fact["shape"]) if raw.numel() else torch.empty(fact["shape"], dtype=dtype)
        )
    return found
