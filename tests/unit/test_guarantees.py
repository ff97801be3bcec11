"""docs/guarantees.md names modules and tests that exist, in the tier that it says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split(" | ")]
    for line in (ROOT / "docs/guarantees.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "---" not in line and "| module |" not in line
]


@cache
def known_tests() -> dict[str, bool]:
    """Every test function by name, and whether all of it runs only in `make test-all`."""
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = [ast.unparse(each) for each in node.decorator_list]
                found[node.name] = "pytest.mark.slow" in marks
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:60] for row in ROWS])
def test_a_guarantee_has_a_module_and_a_test_that_runs_on_every_change(row: list[str]) -> None:
    """The module exists; at least one test of `make test` is named, and none of those is a sweep."""
    _, modules, gate, sweeps = (*row, "")[:4]
    for module in re.findall(r"`([\w/]+(?:\.py)?)`", modules):
        assert (ROOT / "src/thriftune" / module).is_file() or (ROOT / module).is_file(), module
    known = known_tests()
    named = re.findall(r"`(test_\w+)`", gate)
    assert named
    assert [name for name in named if known.get(name, True)] == []
    assert [name for name in re.findall(r"`(test_\w+)`", sweeps) if name not in known] == []
