"""What an exported model says is what the evaluation says, whichever agents it has."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.agents import PAIRS, SOURCE, TOKENS, WORDS, agent, collator, post, rows

from thriftune.corpus.types import Post
from thriftune.dual_agent.predictor import Predictor
from thriftune.dual_agent.sentences import split_sentences
from thriftune.evaluation.predict import predict
from thriftune.evaluation.predictions import decide
from thriftune.evaluation.report import prediction_lines
from thriftune.maintenance.exported_model import write_model
from thriftune.model.encoder import Encoder, build_encoder

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A tiny encoder with its own tokenizer."""
    return build_encoder(SOURCE, lambda: [" ".join(WORDS)], tmp_path_factory.mktemp("cache"))


def widest_gap(probabilities: Any) -> Any:
    """Of each criterion a threshold far from every value, which may be another one in its last digit."""
    ordered = np.sort(probabilities, axis=0)
    at = np.argmax(np.diff(ordered, axis=0), axis=0)
    column = np.arange(ordered.shape[1])
    return (ordered[at, column] + ordered[at + 1, column]) / 2


def test_what_has_no_token_is_no_evidence(encoder: Encoder, tmp_path: Path) -> None:
    """Zero-width characters are a sentence of which nothing is read; its neighbour is."""
    model = agent(encoder)
    model.set_thresholds(torch.zeros(2), torch.zeros(2))
    layout = {**asdict(TOKENS), "token_ranges": False}
    write_model(
        tmp_path, model, encoder, {"criteria": ["A", "B"], "shape": asdict(model.shape), "layout": layout}
    )
    hidden, text = "\u200b\u200b", "The sun rose."
    alone, beside = Predictor.load(tmp_path)([hidden, f"{hidden}\n\n{text}"])
    assert all(item["score"] == 0 for item in alone["evidence"])
    read = [item for item in beside["evidence"] if item["score"] > 0]
    assert {item["text"].strip(hidden) for item in read} == {text}


@pytest.mark.parametrize("reading", ["posts", "pairs"])
@pytest.mark.parametrize("kind", ["sentence", "span", "biaffine", "tagger", "crf_tagger"])
def test_it_says_what_the_evaluation_says(encoder: Encoder, tmp_path: Path, kind: str, reading: str) -> None:
    """Probabilities, decisions, and every range with its score; in batches of another size."""
    layout = PAIRS if reading == "pairs" else TOKENS
    model = agent(encoder, evidence_agent={"kind": kind}, reading=reading)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("encoder."):
                parameter.add_(torch.randn_like(parameter))
    texts = [post(words, words).text.replace(". ", ". The ") + "." for words in (5, 91, 42)] + [""]
    posts = [Post(str(at), text, (), (), split_sentences(text)) for at, text in enumerate(texts)]
    found = predict(model, rows(encoder, posts, layout), collator(encoder, layout), 4)
    middle = [widest_gap(part) for part in (found.criteria_prob, found.sentence_prob)]
    model.set_thresholds(*map(torch.from_numpy, middle))
    facts = {"criteria": ["A", "B"], "shape": asdict(model.shape), "layout": asdict(layout)}
    write_model(tmp_path, model, encoder, facts)
    predictor = Predictor.load(tmp_path)
    said = predictor(texts, batch_size=3)
    assert predictor(["", " "]) == [said[-1], said[-1]]
    assert said[-1]["evidence"] == []
    assert predictor(iter(texts)) == predictor(texts)
    for wrong, error, told in (
        (texts[0], TypeError, "a list of texts"),
        (["fine", None], TypeError, "found NoneType at 1"),
        (["half \ud800"], ValueError, "text 0 has half a character"),
    ):
        with pytest.raises(error, match=told):
            predictor(wrong)
    with pytest.raises(ValueError, match="at least 1"):
        predictor(texts, batch_size=0)
    assert len({path.stat().st_mode for path in tmp_path.iterdir() if path.is_file()}) == 1
    wanted = [json.loads(line) for line in prediction_lines(found, decide(found, *middle))]
    some = 0
    for text, own, line in zip(texts, said, wanted, strict=True):
        for name, value in line["criteria"].items():
            assert own["criteria"][name]["probability"] == pytest.approx(value["probability"], abs=1e-5)
            assert own["criteria"][name]["met"] == value["predicted"]
            threshold = own["criteria"][name]["threshold"]
            assert value["predicted"] == (value["probability"] >= threshold)
        keys = ("criterion", "start", "end")
        ranges = [tuple(item[key] for key in keys) for item in own["evidence"]]
        assert ranges == [tuple(item[key] for key in keys) for item in line["evidence"]]
        for item, same in zip(own["evidence"], line["evidence"], strict=True):
            assert item["score"] == pytest.approx(same["score"], abs=1e-5)
            assert item["text"] == text[item["start"] : item["end"]]
        some += len(ranges)
    assert some > 0
