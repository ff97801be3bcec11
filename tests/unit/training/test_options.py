"""Every pair of the options of model and training, trained, stored, resumed: the same weights bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from allpairspy import AllPairs
from tests.support.agents import SOURCE, WORDS
from tests.support.trainers import Log, committed, stored, trainer

from thriftune.config import override, parse_parameters
from thriftune.model.encoder import Encoder, build_encoder
from thriftune.training.loop import Trainer, train

pytestmark = pytest.mark.unit

OPTIONS: dict[str, tuple[Any, ...]] = {
    "model.criteria_agent.pooling": ("mean", "cls", "attention", "last2"),
    "model.criteria_agent.head": ("linear", "mlp", "residual", "gated", "multi_sample"),
    "model.criteria_agent.loss": ("bce", "weighted_bce", "focal", "asymmetric", "hybrid"),
    "model.criteria_agent.label_smoothing": (0.0, 0.1),
    "model.evidence_agent.head": ("linear", "mlp", "residual", "gated", "multi_sample"),
    "model.evidence_agent.loss": ("bce", "weighted_bce", "focal", "asymmetric", "hybrid"),
    "model.evidence_agent.label_smoothing": (0.0, 0.1),
    "model.evidence_agent.kind": ("sentence", "span", "biaffine", "tagger", "crf_tagger"),
    "model.reading": ("posts", "pairs"),
    "model.coupling": ("independent", "concat", "sum", "gated", "strongest"),
    "model.fine_tuning": ("full", "top_layers", "heads", "lora"),
    "training.optimizer": ("adamw", "adam", "radam", "adafactor", "lion", "sgd"),
    "training.schedule": ("linear", "cosine", "polynomial", "constant", "one_cycle"),
    "training.layer_decay": (1.0, 0.8),
    "training.clip_norm": (1.0, None),
    "training.accumulation": (1, 3),
    "training.gradient_checkpointing": (False, True),
    "training.precision": ("float32", "bfloat16", "float16"),
}
LOGGED = ("train/loss", "train/gradient_norm", "train/learning_rate")
PAIRS = [dict(zip(OPTIONS, row, strict=True)) for row in AllPairs(list(OPTIONS.values()))]


def in_words(options: dict[str, Any]) -> str:
    """Return the options that matter most to what is stored, as a test's id."""
    named = ("evidence_agent.kind", "reading", "coupling", "fine_tuning")
    shown = [options[f"model.{name}"] for name in named]
    return ", ".join([*shown, options["training.optimizer"], options["training.precision"]])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Two layers, with its own tokenizer."""
    source = SOURCE.model_copy(update={"layers": 2, "dropout": 0.2})
    return build_encoder(source, lambda: [" ".join(WORDS)], tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("options", PAIRS, ids=in_words)
def test_options_go_together_and_resume_exactly(
    options: dict[str, Any], encoder: Encoder, device: torch.device, tmp_path: Path
) -> None:
    """Two epochs, a resume after the first: the second is the same, and all that is trained has moved."""
    base = parse_parameters(
        {"training": {"epochs": 2, "batch_size": 1, "max_length": 16, "overlap": 4, "learning_rate": 1e-3}}
    )
    settings = override(base, {**options, "model.trained_layers": 1})
    whole = trainer(settings, encoder, device)
    before = {name: value.cpu().clone() for name, value in whole.agent.trained_state().items()}
    loop = train(whole)
    resume = stored(committed(next(loop)), tmp_path)
    last = committed(next(loop))
    unmoved = {name for name, value in last.model.items() if torch.equal(value.cpu(), before[name])}
    assert unmoved == {"criteria_thresholds", "evidence_thresholds"}
    wanted = {name: value.cpu().clone() for name, value in last.model.items()}
    again = trainer(settings, encoder, device)
    (resumed,) = [committed(checkpoint) for checkpoint in train(again, resume)]
    for name, value in wanted.items():
        assert torch.equal(value, resumed.model[name].cpu()), name
    assert json.dumps(dict(resumed.state), sort_keys=True) == json.dumps(dict(last.state), sort_keys=True)
    logged = [_training_rows(made, resume.step) for made in (whole, again)]
    assert repr(logged[0]) == repr(logged[1])  # no number is not itself
    assert len(logged[0]) == len(LOGGED) * (last.step - resume.step)


def _training_rows(made: Trainer, after: int) -> dict[tuple[str, int], float | None]:
    assert isinstance(made.log, Log)
    return {key: value for key, value in made.log.rows.items() if key[0] in LOGGED and key[1] > after}


def test_activations_computed_again_change_no_weight(encoder: Encoder) -> None:
    """With dropout, in both: the second pass draws what the first drew."""
    found = []
    for again in (False, True):
        settings = parse_parameters(
            {"training": {"epochs": 1, "max_length": 16, "overlap": 4, "gradient_checkpointing": again}}
        )
        (checkpoint,) = [committed(item) for item in train(trainer(settings, encoder))]
        found.append({name: value.clone() for name, value in checkpoint.model.items()})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_trains_the_encoder_alone_in_it(encoder: Encoder, precision: str) -> None:
    """The encoder's products are of that type in training and float32 in evaluation; weights stay float32."""
    settings = parse_parameters({"training": {"precision": precision, "max_length": 16, "overlap": 4}})
    given = trainer(settings, encoder)
    seen: list[torch.dtype] = []
    layer = given.agent.encoder.encoder.layer[0].intermediate.dense
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    heads: list[torch.dtype] = []
    given.agent.criteria_head.register_forward_hook(  # type: ignore[union-attr]
        lambda module, inputs, output: heads.append(output.dtype)
    )
    batch = given.collator(given.rows[:2])
    given.agent.train()(batch)
    given.agent.eval()(batch)
    assert seen == [getattr(torch, precision), torch.float32]
    assert heads == [torch.float32, torch.float32]
    assert {parameter.dtype for parameter in given.agent.parameters()} == {torch.float32}
