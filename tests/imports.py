"""What importing modules changes of the process, and which module it was.

    python -m tests.imports PACKAGE    import all modules of a package; print the changes of each as JSON

What a library does when it is imported is the library's. So the process is looked at whenever control passes
from a module of the package to another module that is being imported, and back: what changed in between is
the change of the module whose code ran. The code of a library that a module calls counts as the module's.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.abc
import importlib.machinery
import json
import logging
import os
import pkgutil
import signal
import sys
import threading
import types
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

State = dict[str, object]
"""A value for each thing that may change, by a readable name."""


def state() -> State:
    """What a library has no business to change when it is imported."""
    return {
        **{f"variable {name}": value for name, value in os.environ.items()},
        **{f"logger {name}": found for name, found in _loggers()},
        **{f"handler of signal {number}": signal.getsignal(number) for number in signal.valid_signals()},
        **{f"listener {key} of SQLAlchemy": True for key in _listeners()},
        "filters of warnings": list(warnings.filters),
        "warnings.showwarning": warnings.showwarning,
        "sys.excepthook": sys.excepthook,
        "sys.unraisablehook": sys.unraisablehook,
        "threading.excepthook": threading.excepthook,
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "functions to call at exit": atexit._ncallbacks(),
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "working folder": os.getcwd(),  # noqa: PTH109
    }


def _loggers() -> list[tuple[str, object]]:
    """Level, handlers, filters and so on of each logger that somebody has configured."""
    known = {"root": logging.root, **logging.root.manager.loggerDict}
    untouched = (logging.NOTSET, [], [], True, False)
    found = []
    for name, logger in sorted(known.items()):
        if isinstance(logger, logging.Logger):
            values = logger.level, logger.handlers, logger.filters, logger.propagate, logger.disabled
            if values != untouched:
                found.append((name, (values[0], list(values[1]), list(values[2]), *values[3:])))
    return found


def _listeners() -> list[tuple[object, ...]]:
    """Of every class and object that SQLAlchemy tells of events."""
    registry = sys.modules.get("sqlalchemy.event.registry")
    return [] if registry is None else list(registry._key_to_collection)


class Watch(importlib.abc.MetaPathFinder):
    """Imports as usual, and notes which module of a package made which change."""

    def __init__(self, package: str) -> None:
        self.changes: defaultdict[str, list[str]] = defaultdict(list)
        self._package = package
        self._running = [""]
        """The modules whose import is under way, the innermost last; libraries only as far as they matter."""
        self._state: State = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module as the finders behind this one do."""
        if not self._is_ours(name) and not self._is_ours(self._running[-1]):
            return None  # a library imports a library
        for finder in sys.meta_path:
            if finder is not self and (found := finder.find_spec(name, path, target)) is not None:
                if hasattr(found.loader, "exec_module") and not isinstance(found.loader, type):
                    self._wrap(found.loader, name)  # else it is built in, with one loader for all
                return found
        return None

    def _is_ours(self, name: str) -> bool:
        return name.partition(".")[0] == self._package

    def _wrap(self, loader: Any, name: str) -> None:
        execute = loader.exec_module

        def watched(module: types.ModuleType) -> None:
            self._pass_to(name)
            try:
                execute(module)
            finally:
                self._return()

        loader.exec_module = watched

    def _pass_to(self, name: str) -> None:
        self._settle()
        self._running.append(name)

    def _return(self) -> None:
        self._settle()
        self._running.pop()

    def _settle(self) -> None:
        """What has changed since control passed the last time was changed by the innermost module."""
        before, self._state = self._state, state()
        if self._is_ours(self._running[-1]):
            keys = before.keys() | self._state.keys()
            changed = sorted(key for key in keys if before.get(key) != self._state.get(key))
            self.changes[self._running[-1]] += changed


def import_all(package: str) -> dict[str, list[str]]:
    """Import every module of a package.

    Returns:
        What each module changed of this process; a module that changed nothing is not in it.
    """
    watch = Watch(package)
    sys.meta_path.insert(0, watch)
    try:
        top = importlib.import_module(package)
        for found in pkgutil.walk_packages(top.__path__, f"{package}."):
            importlib.import_module(found.name)
    finally:
        sys.meta_path.remove(watch)
    return {name: changes for name, changes in watch.changes.items() if changes}


if __name__ == "__main__":
    print(json.dumps(import_all(sys.argv[1])))
