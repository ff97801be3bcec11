"""Whether a store answers, told within seconds: real databases, real servers on loopback."""

from __future__ import annotations

import socket
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from thriftune.databases import health
from thriftune.databases.health import unavailable_reason
from thriftune.databases.sqlite import create_atomically, move_aside

pytestmark = pytest.mark.unit


def a_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (x)")
        connection.commit()


def test_a_database_is_absent_sound_locked_or_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent and sound are no trouble; a damaged one is told with the command that rebuilds it."""
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.1)
    path = tmp_path / "a.db"
    assert unavailable_reason(f"sqlite:///{path}") is None
    a_database(path)
    assert unavailable_reason(f"sqlite:///{path}") is None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        assert "locked" in (unavailable_reason(f"sqlite:///{path}") or "")
    path.write_bytes(b"nothing of the kind" * 500)
    assert "tracking rebuild" in (unavailable_reason(f"sqlite:///{path}") or "")
    assert unavailable_reason("mysql://somewhere/else") is None
    refused = unavailable_reason("postgresql://me:s3cret@127.0.0.1:9/else") or ""
    assert "Connection refused" in refused
    assert "s3cret" not in refused


@pytest.mark.parametrize(
    ("status", "body", "right"),
    [
        (200, b'{"experiment": {}}', True),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', True),
        (200, b"<html></html>", False),
        (500, b'{"error_code": "INTERNAL_ERROR"}', False),
        (401, b"no", False),
    ],
)
def test_a_server_is_known_by_its_answer(status: int, body: bytes, right: bool) -> None:
    """Any other answer is told with its status, without the password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    found = unavailable_reason(f"http://user:hunter2@127.0.0.1:{server.server_address[1]}/")
    server.server_close()
    assert (found is None) == right
    if found is not None:
        assert f"answers {status}" in found
        assert "hunter2" not in found


def test_a_server_that_is_gone_or_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at once; one that takes the call and says nothing, after the patience."""
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "Timeout" in (unavailable_reason(f"http://127.0.0.1:{silent.getsockname()[1]}") or "")
        port = silent.getsockname()[1]
    assert "ConnectionError" in (unavailable_reason(f"http://127.0.0.1:{port}") or "")


def test_a_database_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """What an earlier try left is removed; one that is there is left alone; set aside it keeps its logs."""
    path = tmp_path / "folder" / "a.db"
    path.parent.mkdir()
    (path.parent / ".new-a.db").write_bytes(b"torn")
    with pytest.raises(RuntimeError, match="in the middle"):
        create_atomically(path, lambda url: (_ for _ in ()).throw(RuntimeError("in the middle")))
    assert not path.exists()
    create_atomically(path, lambda url: a_database(Path(url.removeprefix("sqlite:///"))))
    assert unavailable_reason(f"sqlite:///{path}") is None
    create_atomically(path, lambda url: pytest.fail("it is there already"))
    (path.parent / "a.db-wal").write_bytes(b"")
    aside = move_aside(path)
    assert aside is not None
    assert sorted(p.name for p in path.parent.glob("a.db*")) == [aside.name, f"{aside.name}-wal"]
    assert move_aside(path) is None
