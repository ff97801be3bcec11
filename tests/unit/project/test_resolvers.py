"""What the catalog gets from the parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from thriftune.config import parse_parameters
from thriftune.project.resolvers import make_resolvers

pytestmark = pytest.mark.unit


def test_a_folder_is_the_project_s_wherever_the_process_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full, since a notebook works in a folder of its own."""
    monkeypatch.chdir("/")
    folder = make_resolvers(parse_parameters({}, root=tmp_path))["folder"]
    assert folder("data/06_models") == str(tmp_path / "data/06_models")
    assert folder("/elsewhere") == "/elsewhere"


def test_a_parameter_is_found_by_its_dotted_key(tmp_path: Path) -> None:
    """As the user wrote it; a section as a mapping."""
    param = make_resolvers(parse_parameters({"training": {"epochs": 5}}, root=tmp_path))["param"]
    assert param("training.epochs") == 5
    assert param("storage.root") == "data/06_models"
    assert param("training")["epochs"] == 5  # type: ignore[index]
