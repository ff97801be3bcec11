"""Start a program of this environment as a process: forked from a warm server, or as a user starts it.

A forked start is a real process: its own pid, session, descriptors, folder, environment, signals and exit
code, and a child of the test that started it. It skips only the seconds of importing (see forkserver.py).
`REAL_STARTS=1 pytest` starts every program as a user does; `make test-all` sets it.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

BIN = Path(sys.executable).parent
SERVER = Path(__file__).with_name("forkserver.py")
TIMEOUT_SECONDS = 280.0
FORKED_SCRIPTS = ("kedro", "thriftune")
READ_AT_IMPORT = (
    "ARROW_",
    "COLUMNS",
    "CUDA_",
    "FORCE_COLOR",
    "GOMP_",
    "HF_",
    "HOME",
    "HUGGINGFACE",
    "KEDRO_",
    "LD_",
    "MKL_",
    "NO_COLOR",
    "OMP_",
    "OPENBLAS_",
    "PYTHONHASHSEED",
    "TERM",
    "TMPDIR",
    "TOKENIZERS_",
    "TRANSFORMERS_",
    "XDG_",
)
"""Prefixes of the variables that libraries read once, at their import: each value has its own server."""
READ_AT_USE = ("HF_TOKEN",)
"""Variables that have such a prefix and are read whenever they are needed."""
_PR_SET_CHILD_SUBREAPER = 36
_servers: dict[tuple[tuple[str, str], ...], socket.socket] = {}
_lock = threading.Lock()
_measured = False


class Running(Protocol):
    """What `start` returns: a `subprocess.Popen`, or a forked process that behaves like one."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ForkedProcess:
    """A forked child of this process, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int, words: Sequence[str]) -> None:
        self.pid, self.args = pid, list(words)
        self.returncode: int | None = None
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit code, minus the number of the signal that ended it, or None while it runs."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
                os.close(self._descriptor)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.poll() is None:
            poller = select.poll()
            poller.register(self._descriptor, select.POLLIN)
            if not poller.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.poll()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@contextmanager
def coverage_measured() -> Iterator[None]:
    """Measure coverage in the processes started inside: it makes each start over a third slower."""
    global _measured
    _measured = True
    try:
        yield
    finally:
        _measured = False


def run(
    words: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    timeout: float = TIMEOUT_SECONDS,
    *,
    real: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        words: A script of this environment (`[".../bin/kedro", ...]`), or `[sys.executable, ...]`.
        cwd: The folder to run it in.
        env: Its whole environment; coverage's variables are left out unless `coverage_measured`.
        timeout: Seconds after which it is killed and `subprocess.TimeoutExpired` is raised.
        real: Start it as a user does.

    Returns:
        Exit code and both outputs as text; an exit code other than 0 raises nothing.
    """
    if real or not is_forkable(words):
        return subprocess.run(
            list(words),
            cwd=cwd,
            env=_environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    with _Pipe() as output, _Pipe() as errors:
        process = fork(words, cwd, env, None, output.write_end, errors.write_end)
        for pipe in (output, errors):
            pipe.begin()
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(list(words), code, output.text(), errors.text())


def start(
    words: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    output: int,
    *,
    new_session: bool = False,
    real: bool = False,
) -> Running:
    """Start a program with both outputs written to the descriptor `output`; see `run` for the rest."""
    if real or not is_forkable(words):
        return subprocess.Popen(
            list(words),
            cwd=cwd,
            env=_environment(env),
            stdout=output,
            stderr=output,
            start_new_session=new_session,
        )
    return fork(words, cwd, env, None, output, output, new_session=new_session)


def is_forkable(words: Sequence[str]) -> bool:
    """Return whether the fork server can run it: a script or a program of this environment's Python."""
    if os.environ.get("REAL_STARTS") or sys.platform != "linux":
        return False
    script = Path(words[0])
    return (words[0] == sys.executable and words[1] in ("-c", "-m")) or (
        script.parent == BIN and script.name in FORKED_SCRIPTS
    )


def fork(
    words: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    stdin: int | None,
    stdout: int,
    stderr: int,
    *,
    new_session: bool = False,
) -> ForkedProcess:
    """Fork a program from the server whose libraries were imported in such an environment.

    Args:
        stdin: A descriptor, or None for an empty input.
        stdout: A descriptor.
        stderr: A descriptor.
        new_session: Make it the leader of a session, as `subprocess.Popen(start_new_session=True)` does.
    """
    environment = _environment(env)
    request = json.dumps(
        {**_invocation(words, cwd), "cwd": str(cwd), "env": environment, "new_session": new_session}
    ).encode()
    empty = os.open(os.devnull, os.O_RDONLY)
    try:
        with _lock:
            server = _server(environment)
            socket.send_fds(server, [request], [empty if stdin is None else stdin, stdout, stderr])
            answer = server.recv(20)
    finally:
        os.close(empty)
    assert answer, "the fork server has ended"
    return ForkedProcess(int(answer), words)


def _invocation(words: Sequence[str], cwd: Path) -> dict[str, object]:
    """How to run it, with the argv and the first entry of sys.path that an interpreter would give it."""
    if words[:2] == [sys.executable, "-c"]:
        return {"kind": "code", "program": words[2], "argv": ["-c", *words[3:]], "path0": ""}
    if words[:2] == [sys.executable, "-m"]:
        return {"kind": "module", "program": words[2], "argv": list(words[2:]), "path0": str(cwd)}
    return {"kind": "script", "program": words[0], "argv": list(words), "path0": str(BIN)}


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if _measured or not name.startswith("COVERAGE_")}


def _server(env: Mapping[str, str]) -> socket.socket:
    """The link to the server for such an environment; starts it the first time."""
    key = tuple(
        sorted(
            (name, value)
            for name, value in env.items()
            if name.startswith(READ_AT_IMPORT) and name not in READ_AT_USE
        )
    )
    if key not in _servers:
        # An orphan becomes a child of the nearest subreaper: a forked program, of its test.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith((*READ_AT_IMPORT, "COVERAGE_"))
        }
        with theirs:
            subprocess.Popen(
                [sys.executable, str(SERVER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**own, **dict(key)},
            )
        assert ours.recv(20) == b"ready", "the fork server did not start; its output says why"
        _servers[key] = ours
    return _servers[key]


class _Pipe:
    """A pipe that a thread reads to its end, so that the program never waits for a reader."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self._content = b""
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *error: object) -> None:
        if self._reader.ident is None:  # nothing was started
            os.close(self.write_end)
            os.close(self._read_end)

    def begin(self) -> None:
        """Leave the writing end to the program alone, and read."""
        os.close(self.write_end)
        self._reader.start()

    def text(self) -> str:
        """All that was written, once nobody can write any more."""
        self._reader.join()
        return self._content.decode("utf-8", "replace")

    def _read(self) -> None:
        with os.fdopen(self._read_end, "rb") as stream:
            self._content = stream.read()
