"""Posts are in the corpus and on the study's page, and nowhere else that a run leaves."""

from __future__ import annotations

import csv
import html
import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import yaml
from tests.integration.conftest import copy_project
from tests.integration.deeds import run

pytestmark = pytest.mark.integration

DATA = ("posts.csv", "annotations.csv", "src/thriftune/corpus/sample", "data/03_primary/corpus_")
"""The tables, the shipped sample, and the corpus made of the tables: the data themselves."""
PAGE = re.compile(r"data/06_models/study_[^/]+/report\.html")
"""The one that shows examples of evidence, by design; MLflow's copy is not among them."""
DIVERGING = {"training.learning_rate": 1e30}
KEYS = ["timestamp", "level", "message", "component", "study", "trial", "epoch", "step"]


def letters(text: str) -> str:
    """Letters and digits alone, whatever way a file escapes, wraps or quotes what is between them."""
    text = html.unescape(unquote(text))
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    return re.sub(r"[\W_]+", "", re.sub(r"\\+[nrt]", " ", text))


def mark(project: Path) -> None:
    """Give each post a sentence of its own that no encoding leaves as it is."""
    with (project / "posts.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    for number, row in enumerate(rows):
        row["text"] += f' In note {number} she wrote "ça & là, 50% né\'er" <b>\\again</b>.'
    with (project / "posts.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def sentences(project: Path) -> set[str]:
    """All that were annotated, and all that the posts consist of."""
    with (project / "annotations.csv").open(encoding="utf-8", newline="") as handle:
        found = {letters(row["sentence_text"]) for row in csv.DictReader(handle)}
    (corpus,) = project.glob("data/03_primary/corpus_*")
    for split in ("train", "validation", "test"):
        for post in map(json.loads, (corpus / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()):
            found |= {letters(post["text"][start:end]) for start, end in post["sentences"]}
    assert min(map(len, found)) >= 15, "too short to be told from other words"
    return found


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """What each file says; after that each value of the databases too, which may lie on several pages."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        yield path, path.read_bytes().decode("utf-8", "ignore")
    for path in paths:
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as database:
                tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
                for (table,) in tables:
                    for row in database.execute(f'select * from "{table}"'):
                        yield path, "\n".join(map(str, row))


def with_text(folder: Path, wanted: set[str]) -> dict[str, str]:
    """A sentence of each file below a folder that holds one."""
    pattern = re.compile("|".join(map(re.escape, sorted(wanted))))
    matches = ((path, pattern.search(letters(text))) for path, text in texts(folder))
    return {str(path.relative_to(folder)): match.group() for path, match in matches if match is not None}


def logged(project: Path) -> list[dict[str, Any]]:
    """Every line of every log."""
    logs = sorted(project.glob("logs/*.jsonl"))
    return [json.loads(line) for path in logs for line in path.read_text(encoding="utf-8").splitlines()]


def test_no_sentence_of_a_post_is_in_what_runs_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that diverges, SIGTERM in the next, a fault when all but the catalog's copy of the result is
    written: terminal, log, journals, databases, artifacts, records, temporary files, home folder."""
    project = copy_project(tmp_path)
    mark(project)
    for name in ("HOME", "TMPDIR"):
        (project / name).mkdir()
        monkeypatch.setenv(name, str(project / name))
    settings = {"search": {"space": {}, "baselines": [DIVERGING, {}]}}
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    extra = ",training.clip_norm=null,training.warmup_share=0.0,training.batch_size=8"
    extra += ",tracking.log_every_steps=1,observe.redact=own-\\d+"
    said = ""
    for code, deeds in (
        (130, [("append metrics.jsonl", 12, "kill", 0, signal.SIGTERM)]),
        (1, [("write evaluation.json.tmp", 2, "raise", "of own-12", None)]),
    ):
        done = run(project, extra, *deeds)
        assert done.returncode == code, done.stderr
        said += done.stdout + done.stderr
    (project / "terminal.txt").write_text(said, encoding="utf-8")

    wanted = sentences(project)
    found = with_text(project, wanted)
    assert all(any(path.startswith(place) for path in found) for place in DATA), "the search finds nothing"
    assert any(map(PAGE.fullmatch, found)), "the page quotes no post"
    leaks = {path for path in found if not path.startswith(DATA) and not PAGE.fullmatch(path)}
    assert not leaks, {path: found[path] for path in leaks}
    for left in ("06_models/study_*/predictions.jsonl", "tracking/mlflow-artifacts/*/artifacts/report.html"):
        assert list(project.glob(f"data/{left}")), left
    assert_found_however_it_is_written(tmp_path / "written", wanted, project)

    lines = logged(project)
    of_trials = [line for line in lines if "epoch" in line]
    assert of_trials
    assert all(list(line) == KEYS for line in of_trials)
    troubles = [line["message"] for line in lines if line["level"] in ("WARNING", "ERROR")]
    diverged, stopped, fault = troubles
    assert diverged.startswith("trial 0 failed: diverged: ")
    assert "the same command" in stopped
    assert fault.startswith("internal error\nTraceback")
    assert fault.endswith("of [redacted]")
    assert "own-12" not in said


def assert_found_however_it_is_written(folder: Path, wanted: set[str], project: Path) -> None:
    """Escaped for HTML, in JSON, in JSON in JSON, as Python or a URL has it, and in a row of a database."""
    with (project / "posts.csv").open(encoding="utf-8", newline="") as handle:
        text = re.split(r"(?=In note)", next(csv.DictReader(handle))["text"])[1]
    folder.mkdir()
    ways = (html.escape(text), json.dumps(text), json.dumps(json.dumps([text])), repr(text), quote(text))
    for number, written in enumerate(ways):
        (folder / str(number)).write_text(written, encoding="utf-8")
    with closing(sqlite3.connect(folder / "rows.db")) as database:
        database.execute("create table rows (value)")
        database.execute("insert into rows values (?)", (f"{'x' * 5000}{text}{'x' * 5000}",))
        database.commit()
    assert len(with_text(folder, wanted)) == len(ways) + 1
