"""The bytes of a model that is not built, against those of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import small_parameters

from thriftune.config import override
from thriftune.corpus.store import Corpus
from thriftune.errors import ConfigError
from thriftune.forecast.model_size import model_bytes
from thriftune.training.inputs import encoder_for

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model.fine_tuning": "heads"},
        {"model.fine_tuning": "top_layers", "model.trained_layers": 1},
        {"model.fine_tuning": "lora"},
        {"model.criteria_agent.pooling": "last2", "model.criteria_agent.head": "gated"},
        {"model.evidence_agent.kind": "crf_tagger", "model.coupling": "gated"},
        {"model.evidence_agent.kind": "biaffine", "model.reading": "pairs"},
        {"model.criteria_agent.weight": 0.0},
    ],
    ids=lambda options: " ".join(map(str, options.values())) or "as written",
)
def test_a_shape_has_the_bytes_of_the_model(
    small: Path, small_corpus: Corpus, options: dict[str, object]
) -> None:
    """Whatever of it is trained, and whatever its agents are."""
    parameters = override(small_parameters(small), options)
    encoder = encoder_for(parameters, small_corpus)
    assert model_bytes(parameters, small_corpus) == model_bytes(parameters, small_corpus, encoder)


def test_a_window_too_wide_is_refused(small: Path, small_corpus: Corpus) -> None:
    """As where the encoder is built."""
    parameters = override(small_parameters(small), {"training.max_length": 128})
    with pytest.raises(ConfigError, match="window of 64 tokens"):
        model_bytes(parameters, small_corpus)
