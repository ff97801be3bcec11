"""A user's mistakes through the whole command: one message, the right exit code, nothing written."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.databases import copy_mlflow_tables
from tests.integration.conftest import SMALL, Run, copy_project

pytestmark = pytest.mark.integration


def _edit(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = list(rows[0])
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]) if rows else names)
        writer.writeheader()
        writer.writerows(rows)


def _rename_column(rows: list[dict[str, str]]) -> None:
    rows[:] = [{"post_id": row["post_id"], "body": row["text"]} for row in rows]


def _posts(change: Callable[[list[dict[str, str]]], None]) -> Callable[[Path], None]:
    return lambda project: _edit(project / "posts.csv", change)


def _rows(change: Callable[[list[dict[str, str]]], None]) -> Callable[[Path], None]:
    return lambda project: _edit(project / "annotations.csv", change)


def _set(name: str, value: str) -> Callable[[list[dict[str, str]]], None]:
    return lambda rows: rows[0].update({name: value})


def _latin1(project: Path) -> None:
    text = (project / "posts.csv").read_text(encoding="utf-8")
    (project / "posts.csv").write_bytes(text.replace("I ", "\xe9 ", 1).encode("latin-1"))


def _text(*lines: int) -> Callable[[Path], None]:
    """Rows without quotes, but for one that opens at each of these lines."""

    def write(project: Path) -> None:
        quote = dict.fromkeys(lines, '"')
        rows = [f"p{n},{quote.get(n, '')}I sleep badly number {n}" for n in range(60)]
        (project / "posts.csv").write_text("post_id,text\n" + "\n".join(rows) + "\n", encoding="utf-8")

    return write


def _surplus(project: Path) -> None:
    with (project / "posts.csv").open("a", encoding="utf-8") as handle:
        handle.write("p999,I feel sad, and I can not sleep, and that is bad.\n")


def _zero(project: Path) -> None:
    content = (project / "posts.csv").read_bytes()
    (project / "posts.csv").write_bytes(content[:500] + b"\0" + content[500:])


def _all_negative(rows: list[dict[str, str]]) -> None:
    for row in rows:
        row["status"] = "0"


def _block(name: str) -> Callable[[Path], None]:
    def put_a_file_in_the_way(project: Path) -> None:
        (project / "data").mkdir(exist_ok=True)
        (project / "data" / name).write_text("a file", encoding="utf-8")

    return put_a_file_in_the_way


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with nothing in data: a refused run leaves it so."""
    return copy_project(tmp_path, mlflow_tables=False)


PARAMETERS: dict[str, tuple[str, str]] = {
    "wrong type": ("training.epochs=many", "training.epochs (--params)"),
    "out of range": ("training.epochs=0", "greater than or equal to 1"),
    "unknown key": ("training.epoch=4", "did you mean 'training.epochs'"),
    "misspelt section": ("trainin.epochs=4", "did you mean 'training'"),
    "number for a text": ("study.name=007", "quote it twice"),
    "unknown choice": ("corpus.source=hub", "corpus.source"),
    "bad size": ("storage.max_total_size=plenty", "10GB"),
    "files without paths": ("corpus.source=files", "corpus.files.posts is not set"),
    "both agents off": (
        "model.criteria_agent.weight=0,model.evidence_agent.weight=0",
        "nothing would be trained",
    ),
    "searched key given": ("training.learning_rate=0.1", "search.space.training.learning_rate"),
    "bad redact pattern": ("observe.redact=(", "not a regular expression"),
    "windows that stand still": ("training.overlap=200", "more than half of max_length"),
    "unknown store": ("tracking.mlflow_uri=notascheme://x", "begins with one of http"),
    "file store": ("tracking.mlflow_uri=mlruns", "begins with one of http"),
    "metric that is not made": ("study.metric=criteria.f1", "study.metric"),
    "no such encoder": ("encoder=tinny", "did you mean 'tiny'"),
    "folder that is no encoder": ("encoder=conf", "no config.json"),
    "window too long": ("training.max_length=512", "window of 256 tokens"),
    "save interval": ("storage.min_interval_epochs=9", "no checkpoint would be saved"),
    "root that nobody can write": ("storage.root=/proc/thriftune", "cannot be written"),
    "search space by --params": ("search.space.model.head_dropout.low=0.9", "set in a parameter file"),
}
OTHER_CODES: dict[str, tuple[str, str, str, int]] = {
    "budget too small": ("storage.max_total_size=1MB", "", "too small for any study", 3),
    "encoder not installed": (
        "encoder=ghost",
        "encoders:\n  ghost: {kind: package, package: no_such_package, folder: model, sha256: '0'}\n",
        "make encoder",
        4,
    ),
}

SAID = "I have not slept since spring."
DATA: dict[str, tuple[str, Callable[[Path], None], str, int]] = {
    "missing file": ("corpus.files.posts=none.csv", lambda project: None, "no such file", 2),
    "other format": ("corpus.files.posts=pyproject.toml", lambda project: None, ".csv", 2),
    "missing column": ("", _posts(_rename_column), "no column 'text'", 2),
    "empty table": ("", _posts(lambda rows: rows.clear()), "no rows", 2),
    "duplicate id": ("", _posts(lambda rows: rows.append(rows[0])), "occurs twice", 2),
    "stray quotes": ("", _text(3, 30), "not a CSV table", 2),
    "quote without an end": ("", _text(3), "not a CSV table", 2),
    "more cells than columns": ("", _surplus, "more cells than the header", 2),
    "zero byte": ("", _zero, "zero byte at line", 2),
    "nothing positive": ("", _rows(_all_negative), "nothing to learn", 2),
    "empty text": ("", _posts(_set("text", " ")), "has no text", 2),
    "orphan": ("", _rows(_set("post_id", "nobody")), "'nobody'", 2),
    "bad status": ("", _rows(_set("status", "2")), "row 2: '2'", 2),
    "text for a status": ("", _rows(_set("status", SAID)), f"row 2: a text of {len(SAID)} characters", 2),
    "unknown label": ("corpus.criteria=FATIGUE;ANHEDONIA", lambda project: None, "label is unknown", 2),
    "not UTF-8": ("", _latin1, "expected UTF-8", 2),
    "folder in the way": ("", _block("06_models"), "storage.root", 2),
}


def _check(done: subprocess.CompletedProcess[str], code: int, text: str, project: Path) -> None:
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "What to do" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((project / "data").glob("06_models/*"))
    assert not list((project / "data").glob("*/trials"))


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_wrong_parameter_is_refused_before_anything_is_made(case: str, project: Path, run: Run) -> None:
    """One clear message with key and source, exit code 2, and no file at all."""
    params, text = PARAMETERS[case]
    _check(run("kedro", "run", "--params", params), 2, text, project)
    assert not (project / "data").exists()


@pytest.mark.parametrize("case", OTHER_CODES)
def test_what_cannot_be_had_is_said_before_anything_is_made(case: str, project: Path, run: Run) -> None:
    """Room and packages: exit codes 3 and 4."""
    params, local, text, code = OTHER_CODES[case]
    (project / "conf/local/parameters.yml").write_text(local, encoding="utf-8")
    _check(run("kedro", "run", "--params", params), code, text, project)
    assert not (project / "data").exists()


@pytest.mark.parametrize("case", DATA)
def test_a_mistake_in_the_data_leaves_no_study(case: str, project: Path, run: Run) -> None:
    """One clear message that names file and row, in the log too; no study, and no corpus of bad tables."""
    params, change, text, code = DATA[case]
    copy_mlflow_tables(project / "data/tracking")
    change(project)
    joined = f"{SMALL},{params}" if params else SMALL
    done = run("kedro", "run", "--params", joined)
    _check(done, code, text, project)
    assert SAID not in done.stderr
    logs = [path.read_text(encoding="utf-8").splitlines() for path in project.glob("logs/*.jsonl")]
    assert all(text in json.loads(lines[-1])["message"] for lines in logs)
    assert not list((project / "data").glob("03_primary/corpus_*"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--pipeline", "hpoo"], "did you mean 'hpo'"),
        (["--pipelines", "ingest,hpoo"], "did you mean 'hpo'"),
        (["--pipelines", "train,hpo"], "one after the other"),
        (["--pipelines", "ingest", "--nodes", "search"], "its nodes are ingest."),
        (["--async"], "main thread"),
        (["--runner", "ThreadRunner"], "main thread"),
        (["--pipeline", "evaluate"], "there is no study"),
        (["--pipelines", "train", "--params", f"study.name={'n' * 95}"], "nn' has 95 characters"),
        (["--nodes", "nope"], "its nodes are"),
        (["--tags", "zzz"], "its nodes are"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_refused(words: list[str], text: str, project: Path, run: Run) -> None:
    """Pipelines that are not there, runners that cannot work, a study that was never run."""
    _check(run("kedro", "run", *words), 2, text, project)


def test_a_refused_run_masks_the_secrets_of_the_user(project: Path, run: Run) -> None:
    """What observe.redact matches is printed neither by the run nor by the checks before it."""
    done = run("kedro", "run", "--params", "observe.redact=hunter2secret,encoder=hunter2secret")
    _check(done, 2, "[redacted]", project)
    assert "hunter2secret" not in done.stdout + done.stderr


def test_the_configuration_that_is_checked_is_the_one_that_runs(project: Path, run: Run) -> None:
    """With --conf-source the project's own conf counts for nothing, and messages name the other file."""
    elsewhere = shutil.copytree(project / "conf", project.parent / "elsewhere")
    (project / "conf/local/parameters.yml").write_text("training: {epochs: 0}\n", encoding="utf-8")
    (elsewhere / "local/parameters.yml").write_text("training: {epochs: -1}\n", encoding="utf-8")
    tables = "corpus.source=files,corpus.files.posts=posts.csv,corpus.files.annotations=annotations.csv"
    words = ("kedro", "run", "--pipelines", "ingest", "--conf-source", "../elsewhere", "--params", tables)
    _check(run(*words), 2, f"training.epochs ({elsewhere}/local/parameters.yml)", project)
    assert not (project / "data").exists()
    (elsewhere / "local/parameters.yml").unlink()
    done = run(*words)
    assert done.returncode == 0, done.stderr
