"""The forecast of a configured study."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import small_parameters

from thriftune.config import override, parse_parameters
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.forecast.corpus_size import assumed_size
from thriftune.forecast.estimate import configured_inputs, forecast_study
from thriftune.forecast.shown import forecast_summary
from thriftune.forecast.trial_size import trial_bytes

pytestmark = pytest.mark.unit
CRITERIA = [
    "DEPRESSED_MOOD",
    "ANHEDONIA",
    "APPETITE_CHANGE",
    "SLEEP_ISSUES",
    "PSYCHOMOTOR",
    "FATIGUE",
    "WORTHLESSNESS",
    "COGNITIVE_ISSUES",
    "SUICIDAL_THOUGHTS",
]


def test_the_line_says_whether_the_budget_holds_it(tmp_path: Path) -> None:
    """A small budget is called too small."""
    roomy = parse_parameters({"study": {"trials": 3}, "training": {"epochs": 2}}, root=tmp_path)
    found = forecast_study(roomy, configured_inputs(roomy, 10**6))
    assert "keeping everything would take" in forecast_summary(found)
    small = parse_parameters({"storage": {"max_total_size": "5MB"}}, root=tmp_path)
    found = forecast_study(small, configured_inputs(small, 10**6))
    assert "is too small for this study" in forecast_summary(found)


def test_a_trial_s_bytes_follow_what_is_logged(small: Path, small_corpus: Corpus) -> None:
    """More epochs, more rows a step, every figure: more bytes; a database server's rows are not counted."""
    settings = small_parameters(small)
    CorpusStore(Path(settings.corpus.root)).set_current(small_corpus)
    around = configured_inputs(settings)
    assert around.model_bytes > 10_000
    assert (around.criteria, around.train_posts) == (small_corpus.criteria, small_corpus.counts["train"])
    plain = trial_bytes(settings, around.criteria, around.train_posts)
    for more in (
        {"training.epochs": 3},
        {"tracking.log_every_steps": 1},
        {"tracking.figures": "all"},
    ):
        assert trial_bytes(override(settings, more), around.criteria, around.train_posts) > plain
    server = override(settings, {"tracking.mlflow_uri": "http://127.0.0.1:5000"})
    assert trial_bytes(server, around.criteria, around.train_posts) < plain / 2


def test_without_a_corpus_what_is_assumed_is_no_less(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From the configuration and the sizes of the tables, and it says so; with the corpus it is exact."""
    settings = override(small_parameters(small), {"corpus.criteria": CRITERIA})
    around = configured_inputs(settings)
    assert "assumed from the size of posts.csv: about" in caplog.text
    caplog.clear()
    CorpusStore(Path(settings.corpus.root)).set_current(
        ingest(settings.corpus, CorpusStore(Path(settings.corpus.root)), lambda line: None)
    )
    exact = configured_inputs(settings)
    assert caplog.text == ""
    assert exact.model_bytes <= around.model_bytes <= 2 * exact.model_bytes
    assert exact.fixed_bytes <= around.fixed_bytes <= 2 * exact.fixed_bytes
    assert exact.train_posts * 0.9 <= around.train_posts


@pytest.mark.parametrize("source", ["sample", "hub", "files"])
def test_every_source_has_a_size_before_it_is_read(tmp_path: Path, source: str) -> None:
    """Nothing is asked of the hub, and a table that is not there is said so."""
    hub, tables = {"id": "owner/name", "posts": "p.csv", "annotations": "a.csv"}, {"posts": "p.csv"}
    raw = {"source": source, "hub": hub, "files": {**tables, "annotations": "a.csv"}}
    size = assumed_size(parse_parameters({"corpus": raw}, root=tmp_path).corpus)
    assert min(size.posts.values()) > 100
    assert min(size.split_bytes.values()) > 10_000
    assert {"sample": "posts.csv", "hub": "owner/name", "files": "p.csv is not there"}[source] in size.assumed
