"""Each room's front door has what it names, and opening it imports nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit
ROOMS = (
    "checkpoints", "corpus", "databases", "dual_agent", "evaluation", "forecast", "hub", "maintenance",
    "model", "observe", "project", "reports", "runner", "search", "study", "tracking", "training",
)  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_leads_to_what_it_names(room: str) -> None:
    """Every public name is there, and no module of the room hides one that is called the same."""
    package = importlib.import_module(f"thriftune.{room}")
    assert package.__all__
    for name in package.__all__:
        assert callable(getattr(package, name)) or name.isupper(), name
        assert not importlib.util.find_spec(f"thriftune.{room}.{name}"), name


def test_importing_the_rooms_imports_no_library_that_takes_long() -> None:
    """What a room needs is imported when a name is asked for."""
    heavy = ("torch", "mlflow", "optuna", "kedro", "transformers", "pandas", "sqlalchemy")
    program = (
        f"import sys, {', '.join(f'thriftune.{room}' for room in ROOMS)}\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
