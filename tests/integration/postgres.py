"""A real PostgreSQL from the machine's packages, for a test alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.integration.servers import free_port

USER, PASSWORD = "thriftune", "s3cret-of-the-test"
LOCAL = "127.0.0.1"


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl, of the newest release that is installed."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    paths = [*folders, *([Path(found)] if found else [])]
    return paths[-1].parent if paths else None


needs_postgres = pytest.mark.skipif(
    _programs() is None, reason="no PostgreSQL is installed (Debian: apt-get install postgresql)"
)


class Postgres:
    """A server with a database for Optuna and one for MLflow; it refuses who has no password."""

    def __init__(self, folder: Path, address: str = LOCAL) -> None:
        self.folder, self.address, self.port = folder, address, free_port()
        programs = _programs()
        assert programs is not None
        self._programs = programs

    def _run(self, program: str, *words: str) -> None:
        """PostgreSQL refuses to run as root."""
        user = "postgres" if os.geteuid() == 0 else None
        command = [str(self._programs / program), *words]
        # Not captured: the server keeps pg_ctl's pipes open.
        subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL)

    def create(self) -> None:
        """Make the cluster and start it."""
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, "postgres")
        access = ["-A", "scram-sha-256", "-U", USER, f"--pwfile={secret}"]
        self._run("initdb", "-D", f"{self.folder}/data", *access)
        with (self.folder / "data/pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.0.0.0/8 scram-sha-256\n")
        self.start()
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for name in ("optuna", "mlflow"):
                connection.execute(f"create database {name}")  # type: ignore[call-overload]

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses={LOCAL},{self.address} -c fsync=off"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-o", options, "-l", str(log), "-w", "start")

    def stop(self) -> None:
        """End the server and every session at once."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "fast", "-w", "stop")

    def send(self, number: signal.Signals) -> None:
        """A signal to every process of the server: stopped, it takes connections and never answers."""
        head = psutil.Process(int((self.folder / "data/postmaster.pid").read_text().split()[0]))
        for process in [*head.children(recursive=True), head]:
            with suppress(psutil.NoSuchProcess):  # a child of the server's own that has just ended
                process.send_signal(number)

    def url(self, database: str) -> str:
        """As it stands in credentials.yml."""
        return f"postgresql://{USER}:{PASSWORD}@{self.address}:{self.port}/{database}"


@contextmanager
def postgres(address: str = LOCAL) -> Iterator[Postgres]:
    """A server that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder), address)
        server.create()
        try:
            yield server
        finally:
            server.stop()
