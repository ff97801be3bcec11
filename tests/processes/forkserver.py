"""A process that has imported what a run imports, and forks a child for each program it is asked to run.

    python forkserver.py LINK    LINK: the number of an inherited SEQPACKET socket

A request is JSON and three descriptors (0, 1, 2). The child is orphaned at once: its parent becomes the
nearest subreaper, the test process, which waits for it and signals it as any child. It runs the program and
ends as an interpreter ends: threads joined, atexit handlers run, files and databases closed, its own exit
code or signal. Only the modules are not torn down, which would copy the memory that it shares with the
server: 70,000 page faults, 0.4 s.

What stays different from a real start: /proc/PID/cmdline, `warnings.filters`, one hash seed for all programs
of a server, no `__del__` of what a module still holds at the end, and what libraries read once from the
environment (hence a server for each such environment). tests/unit/test_processes.py compares the rest.

Pitfalls, each met once:
- `thriftune` and `kedro.framework` are not imported here: the first is to come from a copy of the project,
  the second reads the working folder. Each program imports them itself.
- `os._exit` alone at the end left `optuna.db-wal` behind: no database was closed as it is in a real process.
- The pid is answered only when the intermediate process is gone; before, waitpid fails with ECHILD.
- The server must not inherit COVERAGE_*; a measured child starts coverage itself.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import io
import json
import os
import random
import runpy
import signal
import socket
import sqlite3
import sys
import tempfile
import time
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

_exit_code: int | None = None
"""That of a program which has ended without an error of its own; None before."""


def serve(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for every request until nobody can ask any more.

    Returns:
        In a child alone: its request and its three descriptors.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests and the programs they have started
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, 1 << 20, 3)
        if not message:
            os._exit(0)
        if (pid := _fork_orphan()) is None:
            link.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return json.loads(message), list(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        link.send(str(pid).encode())


def _fork_orphan() -> int | None:
    """Fork twice: the pid of a child whose parent is the subreaper; None in that child."""
    read_end, write_end = os.pipe()
    if (intermediate := os.fork()) == 0:
        parent = os.getpid()
        if child := os.fork():
            os.write(write_end, str(child).encode())
            os._exit(0)
        os.close(read_end)
        os.close(write_end)
        while os.getppid() == parent:
            time.sleep(0.0005)
        return None
    os.close(write_end)
    pid = int(os.read(read_end, 20))
    os.close(read_end)
    os.waitpid(intermediate, 0)
    return pid


def become(request: dict[str, Any], descriptors: list[int], base_path: list[str]) -> None:
    """Take over session, descriptors, folder, environment, arguments and search path."""
    if request["new_session"]:
        os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = list(request["argv"])
    added = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:] = [request["path0"], *added, *base_path]
    sys.path_importer_cache.clear()
    _open_streams(unbuffered=bool(os.environ.get("PYTHONUNBUFFERED")))
    _forget_random_state()
    if "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        import coverage

        coverage.process_startup(force=True)


def _forget_random_state() -> None:
    """No two programs share names or draws that the operating system seeds at a start."""
    import numpy as np
    import torch

    tempfile.tempdir = None
    random.seed()
    np.random.seed()
    torch.seed()


def _open_streams(*, unbuffered: bool) -> None:
    """Open the standard streams as the interpreter does at its start."""
    old_input = sys.stdin
    raw_input = io.BufferedReader(io.FileIO(0, closefd=False))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(raw_input, old_input.encoding, old_input.errors)
    for number, name in ((1, "stdout"), (2, "stderr")):
        old, raw = getattr(sys, name), io.FileIO(number, "w", closefd=False)
        stream = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[arg-type]
            old.encoding,
            old.errors,
            line_buffering=not unbuffered and (name == "stderr" or raw.isatty()),
            write_through=unbuffered,
        )
        stream.mode = "w"  # type: ignore[misc]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def execute(kind: str, program: str) -> None:
    """Run a script, a module, or code as `__main__`."""
    if kind == "script":
        runpy.run_path(program, run_name="__main__")
    elif kind == "module":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = __builtins__
        global _server_module  # its globals must outlive the name
        _server_module, sys.modules["__main__"] = sys.modules["__main__"], main
        exec(compile(program, "<string>", "exec"), main.__dict__)


def run_to_exit(kind: str, program: str) -> None:
    """As `execute`, and note the exit code of a program that ends by itself or by `sys.exit`."""
    global _exit_code
    try:
        execute(kind, program)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _exit_code = end.code or 0
        raise
    _exit_code = 0


def end_at_once() -> None:
    """Close what the program holds open and end the process, its modules as they are.

    The handler that was registered first is called last, after all threads have been joined. A program that
    ends by an error or a message goes the interpreter's own way.
    """
    if _exit_code is None:
        return
    for thing in gc.get_objects():  # the server's are frozen, and not among them
        if type(thing) is sqlite3.Connection:
            with suppress(sqlite3.Error):
                thing.close()
        elif type(thing) in (io.TextIOWrapper, io.BufferedWriter):
            with suppress(OSError, ValueError):
                thing.flush()
    os._exit(_exit_code & 0xFF)


if __name__ == "__main__":
    atexit.register(end_at_once)
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    base = [path for path in sys.path[1:] if path not in own]
    sys.path[0] = str(Path(__file__).parents[2])
    from tests.preloaded import preload

    preload()
    for name in ("tests.preloaded", "tests"):
        del sys.modules[name]
    # dynaconf walks the stack at each start; for a frame of no module `inspect` goes through all 6,000.
    for place in (__file__, "<frozen runpy>", "<string>"):
        inspect.modulesbyfile[place] = "__main__"
    requests = socket.socket(fileno=int(sys.argv[1]))
    requests.send(b"ready")
    what, given = serve(requests)
    become(what, given, base)
    run_to_exit(what["kind"], what["program"])
