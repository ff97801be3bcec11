"""Files hashed while they are written, and verified while they are read."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

from thriftune import files
from thriftune.checkpoints.manifest import FileFact
from thriftune.errors import DamageError

READ_BYTES = 4 << 20
SMALL_BYTES = 1 << 20
PARALLEL_BYTES = 64 << 20
"""A checkpoint of so many bytes has its two large files handled beside each other, by default."""
DIRECT_BYTES = 32 << 20
"""One of the two buffers of a direct write."""
FLUSH_BYTES = 256 << 20
"""The disk is set to work after so many bytes."""


def write_hashed(handle: files.NewFile, pieces: Iterator[memoryview | bytes]) -> FileFact:
    """Return size and SHA-256 of pieces that are written and hashed in one pass.

    A piece is hashed beside its write (both leave the interpreter's lock), and the bytes go to the disk
    while the next are written, so the final fsync finds little left to do.

    Args:
        handle: A new file.
        pieces: Its content; each piece is used before the next is asked for.
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
    """Return the same of pieces that are written past the page cache.

    No copy is made there, nothing is left for fsync, and what the machine caches for others stays cached. Two
    aligned buffers take turns: one is filled while the other is hashed and written.
    """
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


def verify_file(path: Path, fact: FileFact) -> None:
    """Read and hash a file through two buffers, whatever its size.

    Raises DamageError if it is not what the manifest says.

    Args:
        path: Of the file.
        fact: What its manifest says.
    """
    check_size(path, fact)
    buffers = [memoryview(bytearray(min(READ_BYTES, fact.size))) for _ in range(2)]
    starts = enumerate(range(0, fact.size, READ_BYTES))
    check_hash(path, fact, (buffers[turn % 2][: fact.size - start] for turn, start in starts))


def check_size(path: Path, fact: FileFact) -> None:
    """Raise unless a file has its size.

    Args:
        path: Of the file.
        fact: What its manifest says.

    Raises:
        DamageError: It is missing, no regular file, or of another size.
    """
    with _unreadable_is_damaged(path):
        if path.is_symlink() or not path.is_file():
            raise DamageError("is missing, or not a regular file", where=str(path))
        size = path.stat().st_size
    if size != fact.size:
        raise DamageError(
            f"expected {fact.size} bytes of SHA-256 {fact.sha256}, found {size} bytes", where=str(path)
        )


def check_hash(path: Path, fact: FileFact, room: Iterable[memoryview]) -> None:
    """Raise unless a file has its hash. A piece is hashed while the next is read.

    Args:
        path: Of the file.
        fact: What its manifest says.
        room: Where it is read to, piece by piece; a piece may be used again after one more.

    Raises:
        DamageError: The hash is another one, or the file cannot be read.
    """
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
