"""A disk that forgets: what a power cut may leave of recorded writes.

The model: a file's bytes are durable up to its last fsync; after it, any prefix of what was appended may be
there, and a tail that is there may be zeros. A change of a directory (create, mkdir, rename, unlink, rmdir)
is durable after the directory's fsync; before it, each change may be there or not, whatever the others did.
This is weaker than what journaling file systems promise, so what survives here survives there.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from thriftune import files


@dataclass
class Node:
    """An inode: a file's content with its durable length, or a directory's names."""

    content: bytearray = field(default_factory=bytearray)
    durable: int = 0
    names: dict[str, Node] | None = None
    pending: list[dict[str, Node | None]] = field(default_factory=list)
    """Changes that no fsync of this directory has made durable: name to inode, None where it goes. A rename
    is one change (it is atomic), everything else changes one name."""
    durable_names: dict[str, Node] = field(default_factory=dict)


class ForgetfulDisk:
    """Builds up a directory tree from events, and writes out states that a cut may leave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = _load(root)

    def apply(self, event: files.Event) -> None:
        """What a completed call changes. Events outside the root are ignored."""
        if not event.path.is_relative_to(self.root):
            return
        if event.operation in ("create", "mkdir"):
            node = Node(names={} if event.operation == "mkdir" else None)
            self._change(event.path.parent, {event.path.name: node})
        elif event.operation == "write":
            self._find(event.path).content += bytes(event.data)
        elif event.operation == "fsync":
            node = self._find(event.path)
            node.durable = len(node.content)
        elif event.operation == "fsync_directory":
            node = self._find(event.path)
            assert node.names is not None
            node.durable_names, node.pending = dict(node.names), []
        elif event.operation == "rename":
            assert event.source is not None
            assert event.source.parent == event.path.parent
            moved = self._find(event.source)
            self._change(event.path.parent, {event.source.name: None, event.path.name: moved})
        elif event.operation in ("unlink", "rmdir"):
            parent = self._find(event.path.parent)
            if parent.names and event.path.name in parent.names:
                self._change(event.path.parent, {event.path.name: None})

    def cut(self, chance: random.Random, target: Path) -> None:
        """Write one state that a power cut may leave now below `target`."""
        if target.exists():
            shutil.rmtree(target)
        target.mkdir(parents=True)
        _write(self.top, target, chance)

    def _find(self, path: Path) -> Node:
        node = self.top
        for part in path.relative_to(self.root).parts:
            assert node.names is not None
            node = node.names[part]
        return node

    def _change(self, folder: Path, change: dict[str, Node | None]) -> None:
        node = self._find(folder)
        assert node.names is not None
        node.pending.append(change)
        _carry_out(change, node.names)


def _carry_out(change: dict[str, Node | None], names: dict[str, Node]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _load(path: Path) -> Node:
    if path.is_dir():
        names = {item.name: _load(item) for item in path.iterdir()}
        return Node(names=names, durable_names=dict(names))
    content = path.read_bytes()
    return Node(bytearray(content), len(content))


def _write(node: Node, target: Path, chance: random.Random) -> None:
    names = dict(node.durable_names)
    for change in node.pending:
        if chance.random() < 0.5:  # else it never reached the disk
            _carry_out(change, names)
    for name, child in names.items():
        if child.names is not None:
            (target / name).mkdir()
            _write(child, target / name, chance)
        else:
            (target / name).write_bytes(_content(child, chance))


def _content(node: Node, chance: random.Random) -> bytes:
    length = chance.randint(node.durable, len(node.content))
    kept = bytes(node.content[:length])
    if length > node.durable and chance.random() < 0.3:
        start = chance.randint(node.durable, length)
        kept = kept[:start] + b"\0" * (length - start)  # allocated, never written
    return kept
