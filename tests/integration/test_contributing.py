"""What the pages for contributors show is applied to a copy of the project, and what they say is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in (ROOT / "docs/contributing").glob("*.md") if path.stem not in ("index", "style", "tests")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_can_be_followed_literally(page: Path, tmp_path: Path) -> None:
    """It is short; its diff applies; the tests that it adds fail without its change, and pass with it."""
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    (diff,) = re.findall(r"```diff\n(.+?)```", text, re.DOTALL)
    commands = re.findall(r"^    (\S.+)$", text, re.MULTILINE)
    assert commands
    for name in ("src", "tests", "conf", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    parts = re.split(r"^(?=--- a/)", diff, flags=re.MULTILINE)[1:]
    added = [part for part in parts if part.startswith("--- a/tests/")]
    if added:
        apply(added, tmp_path)
        assert any(run(command, tmp_path) for command in commands)
    apply([part for part in parts if part not in added], tmp_path)
    assert [run(command, tmp_path) for command in commands] == [0] * len(commands)


def apply(parts: list[str], project: Path) -> None:
    """Raises where a part does not fit."""
    command = ["git", "apply", "-"]
    subprocess.run(command, cwd=project, input="".join(parts), text=True, check=True)


def run(command: str, project: Path) -> int:
    """The exit code of a command of a page."""
    words = command.split()
    program = sys.executable if words[0] == "python" else str(Path(sys.executable).with_name(words[0]))
    # The copy's code is not ours: no coverage is measured of it.
    plain = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    environment = {**plain, "PYTHONPATH": f"{project / 'src'}:{project}"}
    return subprocess.run([program, *words[1:]], cwd=project, env=environment, timeout=250).returncode
