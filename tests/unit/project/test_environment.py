"""The variables that libraries read are there before the libraries, and the user's own stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thriftune.project.environment import OPTIONS, TIME_LIMITS, set_library_options, set_time_limits

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
KEDRO = """
from kedro.framework.startup import bootstrap_project
bootstrap_project({root!r})
"""
"""What `kedro`, Kedro's notebooks and `kedro.ipython` do before they load a plugin."""
COMMAND = """
from thriftune.cli import app
app.thriftune = lambda: None
app.main()
"""
"""What the console script does before it loads a command."""
SHOWN = """
import os, sys
print(*sorted(os.environ.keys() & set({names!r})))
print(*sorted(sys.modules.keys() & {{"mlflow", "huggingface_hub", "kedro_mlflow", "kedro_telemetry"}}))
"""


@pytest.mark.parametrize(
    ("start", "wanted"), [(KEDRO, {**OPTIONS, **TIME_LIMITS}), (COMMAND, OPTIONS)], ids=["kedro", "thriftune"]
)
def test_variables_are_set_before_the_libraries_are_imported(start: str, wanted: dict[str, str]) -> None:
    """They read them once: a variable that is set later has no effect."""
    names = [*OPTIONS, *TIME_LIMITS]
    program = (start + SHOWN).format(root=str(ROOT), names=names)
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment["PYTHONPATH"] = str(ROOT / "src")
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    there, libraries = done.stdout.split("\n")[:2]
    assert there.split() == sorted(wanted)
    assert libraries == ""


def test_what_the_user_has_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files above 50 GB, for example, need HF_HUB_DISABLE_XET=0."""
    for name in (*OPTIONS, *TIME_LIMITS):
        monkeypatch.setenv(name, "0")
    set_library_options()
    set_time_limits()
    assert {os.environ[name] for name in (*OPTIONS, *TIME_LIMITS)} == {"0"}
