"""No secret leaves the process; hashes stay readable."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import time
import traceback
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thriftune.errors import ConfigError
from thriftune.observe.logs import log_context, set_up_logs
from thriftune.observe.sanitiser import MASK, Sanitiser
from thriftune.runner.progress import StudyProgress
from thriftune.study.trials import TrialEnd

pytestmark = pytest.mark.unit

ALPHABET = st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
SECRET = st.text(ALPHABET, min_size=36, max_size=40)
KINDS = {
    "hub token": "hf_{}",
    "bearer": "Authorization: Bearer {}",
    "basic": "authorization: basic {}",
    "web token": "eyJ{0}.eyJ{0}.{0}",
    "model provider": "sk-{}",
    "GitHub": "github_pat_{}",
    "GitLab": "glpat-{}",
    "Slack": "xoxb-{}",
    "Google": "AIza{}",
    "named": "MLFLOW_TRACKING_PASSWORD={}",
    "named in JSON": '{{"client_secret": "{}"}}',
    "option": "--api-key {}",
    "URL": "postgresql://me:{}@db.example.org:5432/x",
    "URL without user": "redis://:{}@localhost/0",
    "signed URL": "https://store/file?sv=1&sig={}",
    "e-mail": "{}@example.org",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
}
PLACES = {
    "words": "before {} after",
    "a line": "{}",
    "JSON": json.dumps({"text": "{}"}),
    "a list": repr(["a", "{}"]),
    "two lines": "one\n{}\ntwo",
}


def as_exception(text: str) -> str:
    try:
        raise ValueError(text)
    except ValueError:
        return traceback.format_exc()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps({"said": text})),
    "JSON for HTML": lambda text: json.dumps(text).replace("@", "\\u0040").replace("&", "\\u0026"),
    "percent": lambda text: quote(text, safe=""),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "an exception": as_exception,
    "output of a process": lambda text: (
        subprocess.run(["printf", "%s", text], capture_output=True, text=True, check=True).stdout
    ),
}
KEPT = [
    "0a" * 20,
    "0b" * 32,
    "123e4567-e89b-12d3-a456-426614174000",
    "data/06_models/study_sample-af2bdbe1/trials/trial_0003_1f252101",
    "/home/me/.cache/huggingface/hub/models--google-bert--bert-base-uncased",
    "google-bert/bert-base-uncased@v1.0",
    "training.learning_rate=1.5e-05",
    "max_tokens=128",
    "http://127.0.0.1:5000/#/experiments/1",
    "sqlite:///data/tracking/mlflow.db",
    "postgresql://me@db/x",
    "5.38 ms, 99.5%20",
    "sha256:" + "c" * 64,
    "model.safetensors",
]


@settings(max_examples=20)
@given(SECRET, st.sampled_from(sorted(PLACES)), st.sampled_from(sorted(KINDS)))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_never_survives(encoding: str, secret: str, place: str, kind: str) -> None:
    """Of any kind, in any place, in any encoding: nothing of it is left, decoded or not."""
    encode = ENCODINGS[encoding]
    cleaned = Sanitiser().clean(PLACES[place].replace("{}", encode(KINDS[kind].format(secret))))
    assert secret not in cleaned
    for word in re.findall(r"[\w+/=-]{16,}", cleaned):
        padded = word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4)
        with suppress(ValueError):
            assert secret.encode() not in b64decode(padded)


@given(st.text())
def test_what_is_around_a_secret_stays(text: str) -> None:
    """A line of its own is as it was."""
    line = " ".join(re.findall(r"[a-z ]+", text))
    cleaned = Sanitiser().clean(f"{line}\nhf_{'aB3' * 10}\n{line}")
    assert cleaned == f"{line}\n{MASK}\n{line}"


@pytest.mark.parametrize("text", KEPT)
def test_hashes_paths_and_numbers_stay(text: str) -> None:
    """What identifies data and code is no secret."""
    assert Sanitiser().clean(f"at {text} now") == f"at {text} now"
    assert Sanitiser().clean_value({text: [text]}) == {text: [text]}


def test_a_long_text_takes_time_in_proportion() -> None:
    """Ten times the text takes no hundred times the time, whatever it is made of."""
    dashes = "-" * 5
    for piece in (
        *("a", "a.", "@", "a://a:", "eyJ-", "%41", "token=", "token", "x@y.", "Aa0+", "sk-", "--"),
        f"{dashes}BEGIN PRIVATE KEY{dashes}",
    ):
        took = []
        for size in (10**4, 10**5):
            text = piece * (size // len(piece))
            began = time.process_time()
            Sanitiser().clean(text)
            took.append(time.process_time() - began)
        assert took[1] < 40 * took[0] + 0.05, piece


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
        path = set_up_logs(tmp_path / "logs", Sanitiser())
        with log_context(trial=3):
            try:
                raise ValueError("hf_" + "aB3" * 10)
            except ValueError:
                logging.getLogger("x").exception("failed with %s", "postgresql://me:s3cretpass@db/x")
        progress = StudyProgress(2, 10**6, [])
        progress.trial(0, 3, None)
        progress.step(1, 2)
        progress.epoch(1, "m", None, 10)
        progress.trial_done(0, TrialEnd("complete", 0.5), 0.5, 60.0)
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
        assert "hf_" + "aB3" * 10 not in text
        assert "s3cretpass" not in text
