"""The forecast of a configured study."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import small_parameters

from thriftune.config import override, parse_parameters
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.errors import DataError
from thriftune.search.outlook import configured, forecast_line, forecast_row, trial_bytes

pytestmark = pytest.mark.unit


def test_the_line_says_whether_the_budget_holds_it(tmp_path: Path) -> None:
    """A small budget is told as such; without a corpus the weights must be given."""
    roomy = parse_parameters({"study": {"trials": 3}, "training": {"epochs": 2}})
    row = forecast_row(roomy, *configured(roomy, tmp_path, 10**6))
    assert "keeping everything would take" in forecast_line(row)
    small = parse_parameters({"storage": {"max_total_size": "5MB"}})
    row = forecast_row(small, *configured(small, tmp_path, 10**6))
    assert "does not hold this study" in forecast_line(row)
    with pytest.raises(DataError, match="no corpus"):
        configured(small, tmp_path, None)


def test_a_trial_s_bytes_follow_what_is_logged(small: Path, small_corpus: Corpus) -> None:
    """More epochs, more rows a step, every figure: more bytes; a database server's rows are not counted."""
    settings = small_parameters(small)
    CorpusStore(Path(settings.corpus.root)).set_current(small_corpus)
    weights, around = configured(settings, small, None)
    assert weights > 10_000
    assert (around.criteria, around.train_posts) == (small_corpus.criteria, small_corpus.counts["train"])
    plain = trial_bytes(settings, around)
    for more in (
        {"training.epochs": 3},
        {"tracking.log_every_steps": 1},
        {"tracking.figures": "all"},
    ):
        assert trial_bytes(override(settings, more), around) > plain
    server = override(settings, {"tracking.mlflow_uri": "http://127.0.0.1:5000"})
    assert trial_bytes(server, around) < plain / 2
