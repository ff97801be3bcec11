"""The parameters of a project as its commands read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from thriftune.errors import ConfigError
from thriftune.project.parameters import load_parameters

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]


def test_the_environment_is_the_one_that_kedro_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--env, else KEDRO_ENV, else local; a mistake is named with its file."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("mine", "theirs"):
        (tmp_path / "conf" / name).mkdir()
        (tmp_path / f"conf/{name}/parameters.yml").write_text(f"study: {{name: {name}}}\n", encoding="utf-8")
    monkeypatch.setenv("KEDRO_ENV", "mine")
    assert load_parameters(tmp_path).study.name == "mine"
    assert load_parameters(tmp_path, "theirs").study.name == "theirs"
    (tmp_path / "conf/mine/parameters.yml").write_text("study: {nam: x}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"study\.nam \(conf/mine/parameters\.yml\)"):
        load_parameters(tmp_path)
