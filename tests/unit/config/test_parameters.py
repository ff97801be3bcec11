"""From a raw mapping to frozen parameters, and the messages on the way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.conftest import TINY, small_parameters

from thriftune.config import known_keys, override, parse_bytes, parse_parameters
from thriftune.errors import ConfigError
from thriftune.project.parameters import leaf_keys

pytestmark = pytest.mark.unit

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown top-level key": ({"trainin": {}}, "did you mean 'training'"),
    "a choice that is near": ({"training": {"precision": "bf16"}}, "got 'bf16'; did you mean 'bfloat16'"),
    "no number": ({"study": {"trials": "three"}}, "expected a valid integer, got 'three'"),
    "a blank for a comma": ({"study": {"name": "a study.trials=3"}}, "commas separate them"),
    "unknown key": ({"training": {"epoch": 3}}, "did you mean 'training.epochs'"),
    "wrong type": ({"training": {"epochs": "many"}}, "training.epochs"),
    "out of range": ({"training": {"epochs": 0}}, "greater than or equal to 1"),
    "number for text": ({"study": {"name": 7}}, "quote it twice"),
    "files without paths": ({"corpus": {"source": "files"}}, "corpus.files.posts is not set"),
    "bad size": ({"storage": {"max_total_size": "ten"}}, "10GB"),
    "boolean size": ({"storage": {"max_total_size": True}}, "size such as"),
    "no agent": (
        {"model": {"criteria_agent": {"weight": 0}, "evidence_agent": {"weight": 0}}},
        "nothing would be trained",
    ),
    "label twice": ({"corpus": {"criteria": "A;A"}}, "names a label twice"),
    "blank description": ({"model": {"descriptions": {"A": " "}}}, "model.descriptions.A"),
    "no label": ({"corpus": {"criteria": []}}, "is empty"),
    "range reversed": (
        {"search": {"space": {"training.epochs": {"type": "int", "low": 3, "high": 1}}}},
        "low 3 is above high 1",
    ),
    "log of zero": (
        {"search": {"space": {"a": {"type": "float", "low": 0, "high": 1, "log": True}}}},
        "log needs low above 0",
    ),
    "log and step": (
        {"search": {"space": {"a": {"type": "float", "low": 1, "high": 2, "log": True, "step": 1}}}},
        "exclude each other",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_key_and_remedy(case: str) -> None:
    """Every mistake gives one ConfigError (exit code 2) that names the key and what to do."""
    raw, expected = MISTAKES[case]
    with pytest.raises(ConfigError) as caught:
        parse_parameters(raw)
    assert expected in str(caught.value)
    assert "What to do" in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_mistakes_are_told_at_once_with_their_source() -> None:
    """Two mistakes give one error, each with the file that set it."""
    raw = {"training": {"epochs": "x"}, "study": {"trials": 0}}
    with pytest.raises(ConfigError, match="2 wrong parameters") as caught:
        parse_parameters(raw, where={"study.trials": "--params"})
    assert "study.trials (--params)" in str(caught.value)


def test_sizes_are_read_in_decimal_and_binary_units() -> None:
    """10GB is 10**10 bytes, 1GiB is 2**30, an integer is bytes."""
    assert [parse_bytes(text) for text in ("10GB", "1.5 MB", "1GiB", "7")] == [10**10, 1500000, 2**30, 7]
    assert parse_bytes(12) == 12


def test_a_list_may_come_as_one_string() -> None:
    """--params cannot pass a list of two; a string split at ';' does."""
    assert parse_parameters({"corpus": {"criteria": "A; B"}}).corpus.criteria == ("A", "B")


def test_parameters_are_frozen(tmp_path: Path) -> None:
    """No run can change its own configuration."""
    with pytest.raises(ValidationError):
        small_parameters(tmp_path).study.trials = 9  # type: ignore[misc]


def test_override_changes_one_key_and_checks_the_whole(tmp_path: Path) -> None:
    """An override gives a new value, and is validated like any other."""
    parameters = small_parameters(tmp_path)
    assert override(parameters, {"training.epochs": 5}).training.epochs == 5
    assert parameters.training.epochs == 2
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        override(parameters, {"training.epochs": 0})
    with pytest.raises(ConfigError, match="unknown parameter"):
        override(parameters, {"training.epoch": 1})


def test_known_keys_hold_sections_and_leaves() -> None:
    """Suggestions come from every key of the models."""
    assert {"training", "training.epochs", "storage.max_total_size"} <= set(known_keys())
    assert parse_parameters({"encoders": {"t": TINY}}).encoders["t"].kind == "config"


def test_paths_start_at_the_project_and_are_recorded_as_written(tmp_path: Path) -> None:
    """Wherever the process works; what is dumped is what the user wrote, so a project can be moved."""
    raw: dict[str, Any] = {
        "corpus": {"source": "files", "files": {"posts": "posts.csv", "annotations": "/a.csv"}},
        "encoders": {"mine": {"kind": "directory", "path": "encoder"}},
    }
    parameters = parse_parameters(raw, root=tmp_path)
    assert parameters.project_folder == tmp_path
    assert parameters.corpus.files.posts_path == tmp_path / "posts.csv"
    assert parameters.corpus.files.annotations_path == Path("/a.csv")
    assert parameters.corpus.files.splits_path is None
    assert parameters.encoders["mine"].folder == tmp_path / "encoder"  # type: ignore[union-attr]
    assert parameters.folders() == {
        "corpus.root": tmp_path / "data/03_primary",
        "corpus.cache": tmp_path / "data/05_model_input",
        "storage.root": tmp_path / "data/06_models",
        "tracking.root": tmp_path / "data/tracking",
        "observe.log_root": tmp_path / "logs",
    }
    assert parameters.model_dump() == parse_parameters(raw).model_dump()
    assert override(parameters, {"training.epochs": 3}).storage.folder == tmp_path / "data/06_models"
    assert parameters.at(tmp_path / "moved").corpus.folder == tmp_path / "moved/data/03_primary"


def test_a_relative_folder_of_no_project_is_an_error(tmp_path: Path) -> None:
    """It is never taken from the current directory by accident; an absolute one needs no project."""
    with pytest.raises(ValueError, match=r"call `parameters\.at\(root\)` first"):
        parse_parameters({}).storage.folder  # noqa: B018
    assert parse_parameters({"storage": {"root": str(tmp_path)}}).storage.folder == tmp_path


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"trainning": {"epochs": 3}}, "trainning"),
        ({"search": {"pruner": "threshold"}}, "search"),
        ({"search": {"space": {"training.epochs": {"type": "int", "low": 3, "high": 1}}}}, "search.space"),
    ],
    ids=["unknown section", "keys that contradict each other", "range of the search space"],
)
def test_a_mistake_in_a_section_names_the_file_that_sets_it(raw: dict[str, Any], key: str) -> None:
    """The error is the section's, and only keys inside it are known to be set by a file."""
    where = dict.fromkeys(leaf_keys(raw), "conf/local/parameters.yml")
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}.* \(conf/local/parameters.yml\)"):
        parse_parameters(raw, where=where)
