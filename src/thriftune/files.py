"""The one layer through which the core touches the disk durably.

Every primitive announces itself to `observer` before it acts, one event a system call, so a test can
record a whole run, and fail it, or kill it, at the n-th call. In production the observer is None.

Assumptions about the disk: `rename` within one file system is atomic; a file's bytes are durable
after `fsync` of the file, its name after `fsync` of its directory; nothing else is.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from filelock import FileLock


@dataclass(frozen=True)
class Event:
    """One call that is about to change the disk."""

    operation: str
    """create, write, append, fsync, close, mkdir, fsync_directory, rename, unlink, rmdir; or a transaction
    of a database (optuna_...)."""
    path: Path
    source: Path | None = None
    """What a rename moves."""
    data: bytes | memoryview = b""
    """What a write writes, at the end of the file."""


Observer = Callable[[Event], None]
observer: Observer | None = None
"""Called with each event before it happens; None outside tests."""

TEMPORARY_SUFFIX, TEMPORARY_DIRECTORY = ".tmp", ".tmp-"
"""What the names of half-written files end with, and those of directories begin with."""
BLOCK_BYTES = 4096  # alignment of direct writes


def announce(operation: str, path: Path, source: Path | None = None, data: bytes | memoryview = b"") -> None:
    """Tell the observer, where there is one, what is about to happen.

    Args:
        operation: One of those of `Event`.
        path: Of the file or folder that changes.
        source: What a rename moves.
        data: What a write writes.
    """
    if observer is not None:
        observer(Event(operation, path, source, data))


class NewFile:
    """An unbuffered file that is written from its start; each call announces itself.

    direct: past the page cache, where the file system can (Linux's O_DIRECT; tmpfs and others refuse). Then
    every write but those after `end_direct` must be a multiple of BLOCK_BYTES, from memory aligned to it.
    """

    def __init__(self, path: Path, *, direct: bool = False) -> None:
        self.path = path
        announce("create", path)
        descriptor = _open_direct(path) if direct else -1
        self.direct = descriptor >= 0
        self._handle = open(descriptor, "wb", buffering=0) if self.direct else path.open("wb", buffering=0)  # noqa: PTH123, SIM115

    def end_direct(self) -> None:
        """Further writes may be of any size."""
        if self.direct:
            flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags & ~os.O_DIRECT)
            self.direct = False

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it, however many calls that takes.

        Args:
            data: Until `end_direct` of a direct file, whole blocks in memory that is aligned to them.
        """
        announce("write", self.path, data=data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._handle.write(rest) :]

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._handle.fileno()

    def sync(self) -> None:
        """Make the bytes durable."""
        announce("fsync", self.path)
        os.fsync(self._handle.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        announce("close", self.path)
        self._handle.close()


def _open_direct(path: Path) -> int:
    """Return a descriptor that writes past the page cache, or -1 where that is not possible."""
    if not hasattr(os, "O_DIRECT"):
        return -1
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_DIRECT, 0o666)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return -1
        raise


def fsync_file(handle: IO[Any], path: Path) -> None:
    """Flush a file's bytes to the disk.

    Args:
        handle: The open file.
        path: Its path, for the observer.
    """
    announce("fsync", path)
    handle.flush()
    os.fsync(handle.fileno())


def fsync_path(path: Path) -> None:
    """Make a file's bytes durable, whoever wrote them.

    Args:
        path: Of the file.
    """
    announce("fsync", path)
    _fsync(path)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable.

    Args:
        path: Of the directory.
    """
    announce("fsync_directory", path)
    _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory and its missing parents; the name of each is durable.

    Args:
        path: Of the directory; one that is there is fine.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    announce("mkdir", path)
    path.mkdir(exist_ok=True)
    fsync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """Move atomically within one file system and make the new name durable.

    Args:
        source: What is moved.
        target: Its new path; a file there is replaced, and so is an empty directory by a directory.
    """
    announce("rename", target, source=source)
    source.replace(target)
    fsync_directory(target.parent)


def remove_file(path: Path) -> None:
    """Unlink a file.

    Args:
        path: Of the file; one that is gone already is fine.
    """
    announce("unlink", path)
    path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it; links are not followed.

    Args:
        path: Of the directory; one that is gone already is fine.
    """
    if path.is_symlink() or not path.is_dir():
        if path.is_symlink() or path.exists():
            remove_file(path)
        return
    for item in sorted(path.iterdir()):
        remove_tree(item)
    announce("rmdir", path)
    path.rmdir()


def is_out_of_space(error: BaseException) -> bool:
    """Return whether a write failed for lack of space: on the disk, in a quota, or under a size limit.

    Args:
        error: What the write raised.
    """
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock for the block, so that only one process or thread makes a file. The dead hold none.

    After a wait the file may be there. Raises TimeoutError if the lock is held and `wait` is false.

    Args:
        path: What is made; the lock is a file beside it.
        wait: Until whoever holds the lock has released it.

    Yields:
        Nothing, while the lock is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), blocking=wait):
        yield


@contextmanager
def replacing(path: Path) -> Iterator[NewFile]:
    """Write beside a file and rename onto it: a reader sees the old bytes or all of the new.

    The temporary file is removed when the block raises.

    Args:
        path: Of the file.

    Yields:
        The temporary file.
    """
    make_directory(path.parent)
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with NewFile(temporary) as handle:
            yield handle
            handle.sync()
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Fill a directory beside its place, and rename it there: a reader sees none of it or all.

    What a kill left under the temporary name is removed first, and what is filled when the block raises. The
    block makes the files durable.

    Args:
        target: Where the directory will be; nothing is there then but an empty directory.

    Yields:
        The temporary directory, empty.
    """
    temporary = target.with_name(TEMPORARY_DIRECTORY + target.name)
    try:
        remove_tree(temporary)
        make_directory(temporary)
        yield temporary
        rename(temporary, target)
    except BaseException:
        remove_tree(temporary)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content atomically and durably.

    Args:
        path: Of the file.
        content: All of it.
    """
    with replacing(path) as handle:
        handle.write(content)


def append_bytes(path: Path, content: bytes) -> None:
    """Add to a file's end, durably; the name of a new file is not durable yet.

    Args:
        path: Of the file.
        content: What is added.
    """
    announce("append", path, data=content)
    with path.open("ab", buffering=0) as handle:
        append_all(handle.fileno(), content)
        fsync_file(handle, path)


def append_all(descriptor: int, content: bytes) -> None:
    """Write all of it at the end of a file, or nothing.

    A nearly full disk takes a part, then fails: the part is cut off again and OSError raised.

    Args:
        descriptor: Opened with O_APPEND.
        content: What is added.
    """
    written = 0
    try:
        while written < len(content):
            written += os.write(descriptor, memoryview(content)[written:])
    except BaseException:
        if written:
            os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR) - written)
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace a file by indented JSON, atomically and durably. Raises ValueError for NaN.

    Args:
        path: Of the file.
        value: What is written.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8"))


def read_json(path: Path) -> Any:
    """Return the value of a JSON file. Raises OSError or ValueError as they come.

    Args:
        path: Of the file.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes, read in chunks.

    Args:
        path: Of the file.
    """
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of a value's canonical JSON (sorted keys, no spaces).

    Args:
        value: What JSON can hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def directory_bytes(*paths: Path, skipped: Collection[str] = ()) -> int:
    """Return the bytes (st_size) of all files below folders: each inode once, links not followed.

    Args:
        paths: The folders.
        skipped: Paths of folders that do not count.
    """
    sizes: dict[tuple[int, int], int] = {}
    for path in paths:
        for folder, folders, names in os.walk(path):
            if skipped:
                folders[:] = [name for name in folders if os.path.join(folder, name) not in skipped]  # noqa: PTH118
            for name in names:
                try:
                    fact = os.lstat(os.path.join(folder, name))  # noqa: PTH118
                except FileNotFoundError:
                    continue
                sizes[fact.st_dev, fact.st_ino] = fact.st_size
    return sum(sizes.values())
