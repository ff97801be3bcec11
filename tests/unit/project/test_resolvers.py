"""What the catalog gets from the parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import small_parameters

from thriftune.project.resolvers import resolvers

pytestmark = pytest.mark.unit


def test_a_folder_is_reached_from_wherever_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself in the project's folder, as `kedro run` says it; in full in that of a notebook."""
    folder = resolvers(small_parameters(tmp_path), tmp_path)["folder"]
    monkeypatch.chdir(tmp_path)
    assert folder("data/06_models") == "data/06_models"
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert folder("data/06_models") == str(tmp_path / "data/06_models")
    assert folder("/elsewhere") == "/elsewhere"
