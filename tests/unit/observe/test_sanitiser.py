"""No secret leaves the process; hashes stay readable."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thriftune.errors import ConfigError
from thriftune.observe.logs import log_context, setup
from thriftune.observe.progress import StudyProgress
from thriftune.observe.sanitiser import MASK, Sanitiser

pytestmark = pytest.mark.unit

SECRETS = {
    "hub": "hf_" + "aB3" * 10,
    "bearer": "Bearer abcdefghijklmnop",
    "url": "postgresql://me:s3cretpass@db/x",
    "mail": "someone@example.org",
    "key": "api_key=abcd1234efgh",
}
KEPT = ["0a" * 20, "0b" * 32, "123e4567-e89b-12d3-a456-426614174000", "data/06_models/x", "0.001"]


@given(st.text(), st.sampled_from(sorted(SECRETS)), st.text())
def test_a_secret_never_survives(before: str, name: str, after: str) -> None:
    """Between white space, whatever stands around it, the secret's own part is gone."""
    own = {"bearer": "abcdefghijklmnop", "url": "s3cretpass", "key": "abcd1234efgh"}
    cleaned = Sanitiser().clean(f"{before} {SECRETS[name]} {after}")
    assert own.get(name, SECRETS[name]) not in cleaned.replace(before, "").replace(after, "") or (
        own.get(name, SECRETS[name]) in before + after
    )


@pytest.mark.parametrize("text", KEPT)
def test_hashes_paths_and_numbers_stay(text: str) -> None:
    """What identifies data and code is no secret."""
    assert Sanitiser().clean(f"at {text} now") == f"at {text} now"


def test_own_patterns_and_nested_values() -> None:
    """A user's pattern is masked in every text of a value; a wrong one is named."""
    clean = Sanitiser([r"proj-\d+"]).clean_value({"a": ["proj-12", 3], "b": ("x",)})
    assert clean == {"a": [MASK, 3], "b": ["x"]}
    with pytest.raises(ConfigError, match="entry 0"):
        Sanitiser(["("])


def test_the_log_holds_json_lines_without_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Terminal and file pass the sanitiser, exceptions too; the file's lines carry the context."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        path = setup(tmp_path / "logs", Sanitiser())
        with log_context(trial=3):
            try:
                raise ValueError(SECRETS["hub"])
            except ValueError:
                logging.getLogger("x").exception("failed with %s", SECRETS["url"])
        progress = StudyProgress(2, 10**6, [])
        progress.trial(0, 3, None)
        progress.step(1, 2)
        progress.epoch(1, "m", None, 10)
        progress.trial_done(0, "complete", 0.5, 0.5, 60.0)
        progress.close()
        progress.close()
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    finally:
        for handler in list(root.handlers):
            root.removeHandler(handler)
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert lines[0]["trial"] == 3
    assert lines[0]["level"] == "ERROR"
    for text in (json.dumps(lines), shown):
        assert SECRETS["hub"] not in text
        assert "s3cretpass" not in text
