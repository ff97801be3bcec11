"""Importing a room changes nothing of the process: environment, logs, signals, hooks, listeners."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests import processes

from thriftune.project.environment import OPTIONS, TIME_LIMITS

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]

SETTINGS = "thriftune.settings"
"""Read by Kedro as this project's configuration, before any plugin: the one module that sets something."""
PLANTED = {
    "variable PLANTED": "import os; os.environ['PLANTED'] = '1'",
    "logger root": "import logging; logging.basicConfig(level='ERROR', force=True)",
    "logger other": "import logging; logging.getLogger('other').setLevel('ERROR')",
    "logger handled": "import logging; logging.getLogger('handled').addHandler(logging.NullHandler())",
    "logger filtered": "import logging; logging.getLogger('filtered').addFilter(print)",
    "handler of signal 15": "import signal; signal.signal(15, signal.SIG_IGN)",
    "sys.excepthook": "import sys; sys.excepthook = print",
    "sys.unraisablehook": "import sys; sys.unraisablehook = print",
    "threading.excepthook": "import threading; threading.excepthook = print",
    "listener": "from sqlalchemy import Engine, event; event.listen(Engine, 'connect', lambda *words: None)",
    "filters of warnings": "import warnings; warnings.simplefilter('ignore')",
    "warnings.showwarning": "import logging; logging.captureWarnings(True)",
    "threads": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "functions to call at exit": "import atexit; atexit.register(print)",
    "garbage collection": "import gc; gc.disable()",
    "working folder": "import os; os.chdir('/')",
}
"""A statement for each kind of change; its key begins the name of the change."""


def changes(package: str, folder: Path = ROOT) -> Mapping[str, list[str]]:
    """What each module of a package changes when it is imported, as tests/imports.py prints it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (folder, ROOT / "src", ROOT)))
    done = processes.run([sys.executable, "-m", "tests.imports", package], ROOT, environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_importing_changes_nothing() -> None:
    """Of no module, whatever the libraries that it imports change themselves."""
    found = dict(changes("thriftune"))
    assert set(found.pop(SETTINGS)) <= {f"variable {name}" for name in (*OPTIONS, *TIME_LIMITS)}
    assert found == {}


def test_each_change_is_found_and_attributed_to_the_module_that_made_it(tmp_path: Path) -> None:
    """Also where it was made between two imports."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted/__init__.py").write_text("import logging\nlogging.getLogger(__name__)", "utf-8")
    wanted = {}
    for number, (change, statement) in enumerate(PLANTED.items()):
        text = f"import string\n{statement}\nimport textwrap\n"
        (tmp_path / f"planted/module_{number:02}.py").write_text(text, encoding="utf-8")
        wanted[f"planted.module_{number:02}"] = change
    found = changes("planted", tmp_path)
    assert found.keys() == wanted.keys()
    for module, change in wanted.items():
        assert any(one.startswith(change) for one in found[module]), (module, change)


def test_what_a_library_changes_is_not_held_against_its_user(tmp_path: Path) -> None:
    """Not even where it was imported by an import that was its user's only one."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user/__init__.py").write_text("import library\nfrom user import inner", encoding="utf-8")
    (tmp_path / "user/inner.py").write_text("", encoding="utf-8")
    (tmp_path / "library.py").write_text("\n".join(PLANTED.values()), encoding="utf-8")
    assert changes("user", tmp_path) == {}
