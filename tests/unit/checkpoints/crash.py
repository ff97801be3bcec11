"""A disk that forgets: what a power cut may leave of recorded writes.

The model: a file's bytes are durable up to its last fsync; after it, any prefix of what was appended may be
there, and a tail that is there may be zeros. A change of a directory (create, mkdir, rename, unlink, rmdir) is durable
after the directory's fsync; before it, each change may be there or not, whatever the others did. This is weaker
than what journaling file systems promise, so what survives here survives there.
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
    pending: list[tuple[str, str, Node | None]] = field(default_factory=list)
    """(name, what, inode) of changes that no fsync of this directory has made durable."""
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
            self._change(event.path, node)
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
            moved = self._find(event.source)
            self._change(event.source, None)
            self._change(event.path, moved)
        elif event.operation in ("unlink", "rmdir"):
            parent = self._find(event.path.parent)
            if parent.names and event.path.name in parent.names:
                self._change(event.path, None)

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

    def _change(self, path: Path, node: Node | None) -> None:
        parent = self._find(path.parent)
        assert parent.names is not None
        parent.pending.append((path.name, "set", node))
        if node is None:
            parent.names.pop(path.name)
        else:
            parent.names[path.name] = node


def _load(path: Path) -> Node:
    if path.is_dir():
        names = {item.name: _load(item) for item in path.iterdir()}
        return Node(names=names, durable_names=dict(names))
    content = path.read_bytes()
    return Node(bytearray(content), len(content))


def _write(node: Node, target: Path, chance: random.Random) -> None:
    names = dict(node.durable_names)
    for name, _, child in node.pending:
        if chance.random() < 0.5:
            continue  # this change never reached the disk
        if child is None:
            names.pop(name, None)
        else:
            names[name] = child
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
