"""Processes beside a test: programs of this environment, a real MLflow server on loopback, and one in front
of it that misbehaves when it is told to."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests import processes

FORWARD, LOST = "forward", "lost"
ANSWERS = {
    "error": (500, b"{}"),
    "page": (200, b"<html>welcome</html>"),
    "rubbish": (200, b"\xff" * 9),
}
HANG_SECONDS = 30
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port that nobody listens on, of those that Kedro-Viz takes."""
    while True:
        port = random.randint(20_000, 49_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@contextmanager
def process(project: Path, name: str, *words: str) -> Iterator[processes.Running]:
    """A program of this environment, its output in NAME.log; its group is killed at the end."""
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")}
    with (project / f"{name}.log").open("ab") as log:
        started = processes.start(
            [str(BIN / words[0]), *words[1:]], project, environment, log.fileno(), new_session=True
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def start_mlflow(folder: Path, port: int, log: int, *, real: bool) -> processes.Running:
    """Start MLflow's server on a SQLite file: by its command, or its application alone from the fork server.

    The command checks its options, makes the tables and starts uvicorn with this application in a process of
    its own; requests, answers and tables are the same.
    """
    store = f"sqlite:///{folder}/m.db"
    if real or os.environ.get("REAL_STARTS"):
        words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command = [sys.executable, "-m", "mlflow", *words, "--backend-store-uri", store]
        return processes.start(command, folder, os.environ, log, new_session=True, real=True)
    settings = {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "mlartifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    program = (
        "import uvicorn; from mlflow.server.fastapi_app import app; "
        f"uvicorn.run(app, host='127.0.0.1', port={port}, log_level='warning')"
    )
    words = [sys.executable, "-c", program]
    return processes.start(words, folder, {**os.environ, **settings}, log, new_session=True)


@contextmanager
def mlflow_server(folder: Path, port: int, *, real: bool = False) -> Iterator[int]:
    """A real MLflow server on loopback; its process group's leader. Killed whole at the end."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("a") as log:
        server = start_mlflow(folder, port, log.fileno(), real=real)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield server.pid
    finally:
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(server.pid, number)
            except ProcessLookupError:
                break
        server.wait()


@contextmanager
def in_front(mode: Path, upstream: int = 0) -> Iterator[int]:
    """A server that does what the file `mode` says at each request; its port.

    forward: as the server at `upstream` does. lost: that too, but the answer is another one. hang: nothing,
    for HANG_SECONDS. error, page, rubbish: see ANSWERS.
    """

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            wanted = mode.read_text(encoding="utf-8")
            if wanted == "hang":
                time.sleep(HANG_SECONDS)
                self.close_connection = True
                return
            status, answer = ANSWERS.get(wanted, ANSWERS["error"])
            if wanted in (FORWARD, LOST):
                found = _forward(self.command, self.path, dict(self.headers), body)
                if wanted == FORWARD:
                    status, answer = found
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

        def log_message(self, *words: object) -> None:
            return

    def _forward(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
        try:
            link.request(method, path, body, {**headers, "Host": f"127.0.0.1:{upstream}"})
            reply = link.getresponse()
            return reply.status, reply.read()
        finally:
            link.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.socket.close()
