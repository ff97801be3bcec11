"""Network namespaces, each with a link of its own to this one, that can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

SERVER = "10.77.0.1"

needs_networks = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2"
)


@dataclass(frozen=True)
class Link:
    """One namespace; `server` is this machine's address, whatever the link."""

    number: int
    server: str = SERVER

    @property
    def prefix(self) -> list[str]:
        """What runs a command in it."""
        return ["ip", "netns", "exec", self._space]

    @property
    def _space(self) -> str:
        return f"thriftune{self.number}"

    @property
    def _outside(self) -> str:
        return f"thrift-v{self.number}"

    def make(self) -> None:
        """A pair of interfaces, one end inside."""
        outer, inner = (f"10.77.{self.number + 1}.{end}" for end in (1, 2))
        _ip("netns", "add", self._space)
        _ip("link", "add", self._outside, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        _ip("addr", "add", f"{outer}/30", "dev", self._outside)
        _ip("link", "set", self._outside, "up")
        _ip("-n", self._space, "addr", "add", f"{inner}/30", "dev", "eth0")
        for name in ("lo", "eth0"):
            _ip("-n", self._space, "link", "set", name, "up")
        _ip("-n", self._space, "route", "add", "default", "via", outer)

    def remove(self) -> None:
        """The namespace, and with it both interfaces."""
        subprocess.run(["ip", "netns", "del", self._space], check=False)
        subprocess.run(["ip", "link", "del", self._outside], check=False, stderr=subprocess.DEVNULL)

    def cut(self) -> None:
        """No packet passes; neither side is told."""
        _ip("link", "set", self._outside, "down")

    def mend(self) -> None:
        """The link is back."""
        _ip("link", "set", self._outside, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def networks(count: int) -> Iterator[list[Link]]:
    """Namespaces that are gone after the block."""
    links = [Link(number) for number in range(count)]
    try:
        _ip("addr", "add", f"{SERVER}/32", "dev", "lo")
        for link in links:
            link.make()
        yield links
    finally:
        for link in links:
            link.remove()
        subprocess.run(["ip", "addr", "del", f"{SERVER}/32", "dev", "lo"], check=False)
