"""What an environment's parameters do to those of conf/base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from thriftune.project.loader import ConfigLoader
from thriftune.settings import CONFIG_LOADER_ARGS

pytestmark = pytest.mark.unit

BASE: dict[str, Any] = {
    "search": {"sampler": "tpe", "space": {"a": {"type": "float", "low": 0.0, "high": 1.0}}},
    "epochs": 3,
}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, BASE),
        ({"epochs": 5}, {**BASE, "epochs": 5}),
        ({"search": {"sampler": "qmc"}}, {**BASE, "search": {**BASE["search"], "sampler": "qmc"}}),
        ({"search": {"space": {}}}, {**BASE, "search": {"sampler": "tpe", "space": {}}}),
        (
            {"search": {"space": {"a": {"type": "categorical", "choices": [1]}}}},
            {**BASE, "search": {"sampler": "tpe", "space": {"a": {"type": "categorical", "choices": [1]}}}},
        ),
        (
            {"search": {"space": {"b": {"low": 1}}}},
            {**BASE, "search": {"sampler": "tpe", "space": {"b": {"low": 1}}}},
        ),
    ],
)
def test_a_space_is_replaced_and_all_else_is_merged(
    tmp_path: Path, own: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """An empty one too: nothing of conf/base is searched then."""
    for name, content in (("base", BASE), ("local", own)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "parameters.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert dict(ConfigLoader(str(tmp_path), **CONFIG_LOADER_ARGS)["parameters"]) == wanted
