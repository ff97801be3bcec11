"""Encoders of every family that people use: loaded whole, read to the end, trained, resumed, exported."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from sentencepiece import SentencePieceTrainer
from tests.families import FAMILIES, WINDOW, build
from tests.support.agents import WORDS, agent, collator, marked, post, rows
from tests.support.trainers import committed, stored, trainer

from thriftune.config import EncoderFromDirectory, parse_parameters
from thriftune.corpus.types import Post
from thriftune.dual_agent.predictor import Predictor
from thriftune.dual_agent.sentences import split_sentences
from thriftune.dual_agent.windows import Layout
from thriftune.errors import ConfigError
from thriftune.evaluation.predict import predict
from thriftune.maintenance.exported_model import write_model
from thriftune.model.encoder import Encoder, build_encoder, check_source
from thriftune.training.loop import train

pytestmark = pytest.mark.unit
LAYOUT = Layout(max_length=16, overlap=4, token_ranges=True)
_BRACKETED = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
TEXTS = [f"The {word} rose over a quiet town, because every dog barked." for word in WORDS]


def saved(folder: Path, family: str, dtype: str = "float32") -> EncoderFromDirectory:
    """A directory with a model of the family."""
    folder.mkdir(exist_ok=True)
    for name, content in build(family, TEXTS, dtype).items():
        (folder / name).write_bytes(content)
    return EncoderFromDirectory(kind="directory", path=str(folder))


@pytest.fixture(scope="module", params=FAMILIES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EncoderFromDirectory:
    return saved(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def encoder(source: EncoderFromDirectory, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return build_encoder(source, list, tmp_path_factory.mktemp("cache"))


def test_it_is_loaded_whole_and_takes_its_window(
    source: EncoderFromDirectory, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    """No weight begins at random, no pooling layer is carried along, and the window is filled to the end."""
    with caplog.at_level(logging.WARNING):
        model = encoder.instantiate().eval()
    assert "initialised at random" not in caplog.text
    assert not any(name.startswith("pooler.") for name, _ in model.named_parameters())
    if encoder.window < 1 << 20:
        assert encoder.window == WINDOW
        check_source(source, WINDOW)
        with pytest.raises(ConfigError, match=f"window of {WINDOW}"):
            check_source(source, WINDOW + 1)
    layout = Layout(WINDOW, 8)
    (row,) = rows(encoder, [post(200)], layout)
    assert max(len(window) for window in row["input_ids"]) == WINDOW
    outputs = agent(encoder)(collator(encoder, layout)([row]))
    assert torch.isfinite(outputs.criteria_logits).all()


def test_each_token_is_where_it_stands_in_the_text(encoder: Encoder) -> None:
    """Of words, bytes and pieces: together the tokens cover every character that is no white space, none
    begins or ends with one, and each sentence's tokens are its own."""
    text = "Ein kühler  Morgen. The dog — barked!\nUnaffable naïveté 🙂 wins."
    sentences = ((0, 19), (20, 37), (38, len(text)))
    (row,) = rows(encoder, [Post("1", text, (), (), sentences)], LAYOUT)
    covered = set[int]()
    for start, end in row["tokens"]:
        assert text[start:end] == text[start:end].strip()
        covered |= set(range(start, end))
    unknown = encoder.tokenizer.unk_token_id
    if not any(unknown in window for window in row["input_ids"]):
        assert covered == {at for at, character in enumerate(text) if not character.isspace()}
    assert {number for window in row["sentence"] for number in window} == {-1, 0, 1, 2}


def test_a_post_has_the_same_logits_on_each_device(encoder: Encoder, device: torch.device) -> None:
    """Alone, or beside longer and shorter ones; on the CPU too."""
    model, collate = agent(encoder), collator(encoder, LAYOUT)
    made = rows(encoder, [post(5), post(40, 1), post(90, 2)], LAYOUT)
    with torch.no_grad():
        wanted = model(collate(made)).criteria_logits
        model.to(device)
        together = model(collate(made).to(device)).criteria_logits
        alone = torch.cat([model(collate([row]).to(device)).criteria_logits for row in made])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.cpu(), wanted, atol=1e-5)


def test_it_trains_and_resumes_exactly(encoder: Encoder, device: torch.device, tmp_path: Path) -> None:
    """Two epochs of two steps, stored after the first: the second ends at the same weights, bit for bit."""
    settings = parse_parameters(
        {"training": {"epochs": 2, "batch_size": 2, "max_length": 16, "overlap": 4, "learning_rate": 1e-3}}
    )
    whole = trainer(settings, encoder, device)
    before = {name: value.cpu().clone() for name, value in whole.agent.trained_state().items()}
    loop = train(whole)
    resume = stored(committed(next(loop)), tmp_path)
    wanted = {name: value.clone() for name, value in committed(next(loop)).model.items()}
    moved = [name for name, value in wanted.items() if not torch.equal(value, before[name])]
    assert any(name.startswith("encoder.") for name in moved)
    (resumed,) = [committed(checkpoint) for checkpoint in train(trainer(settings, encoder, device), resume)]
    assert all(torch.equal(value, resumed.model[name]) for name, value in wanted.items())


def test_its_export_says_what_the_evaluation_says(encoder: Encoder, tmp_path: Path) -> None:
    """Loaded without this project's code but what the export brings along."""
    model = agent(encoder)
    facts = {"criteria": ["A", "B"], "shape": asdict(model.shape), "layout": asdict(LAYOUT)}
    write_model(tmp_path, model, encoder, facts)
    texts = [post(40, 1).text, post(5, 2).text]
    posts = [Post(text, text, (), (), split_sentences(text)) for text in texts]
    found = predict(model, rows(encoder, posts, LAYOUT), collator(encoder, LAYOUT), 2).criteria_prob
    said = Predictor.load(tmp_path)(texts)
    assert found is not None
    for line, wanted in zip(said, found, strict=True):
        given = [line["criteria"][name]["probability"] for name in ("A", "B")]
        assert given == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("family", "name", "ids"),
    [
        ("deberta-v2", "spm.model", {"pad": 0, "bos": 1, "eos": 2, "unk": 3}),
        ("xlm-roberta", "sentencepiece.bpe.model", {}),
        ("albert", "spiece.model", {"pad": 0, "unk": 1, "bos": -1, "eos": -1}),
    ],
)
def test_a_sentencepiece_model_alone_is_tokenizer_enough(
    tmp_path: Path, family: str, name: str, ids: dict[str, int]
) -> None:
    """DeBERTa v3 has no tokenizer.json on the hub; another model of pieces is another encoder."""
    made = []
    for size in (60, 70):
        source = saved(tmp_path / f"{family}-{size}", family)
        folder = Path(source.path)
        for other in folder.glob("*token*"):
            other.unlink()
        SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS * 10),
            model_prefix=str(folder / "made"),
            vocab_size=size,
            hard_vocab_limit=False,
            minloglevel=2,
            **{f"{kind}_id": number for kind, number in ids.items()},
            **(_BRACKETED if family == "deberta-v2" else {"user_defined_symbols": ["[CLS]", "[SEP]"]}),
        )
        (folder / "made.model").rename(folder / name)
        made.append(build_encoder(source, list, tmp_path / "cache"))
    (row,) = rows(made[0], [Post("1", "The dog rose, quiet.", (), (), ((0, 20),))], LAYOUT)
    covered = {at for start, end in row["tokens"] for at in range(start, end)}
    assert covered == {at for at, character in enumerate("The dog rose, quiet.") if character != " "}
    assert made[0].fingerprint != made[1].fingerprint
    outputs = agent(made[0])(collator(made[0], LAYOUT)([row]))
    assert torch.isfinite(outputs.criteria_logits).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_that_are_stored_small_are_trained_as_float32(tmp_path: Path, dtype: str) -> None:
    """DeBERTa's are float16 on the hub; transformers would keep them so."""
    encoder = build_encoder(saved(tmp_path / "model", "deberta-v2", dtype), list, tmp_path)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == dtype
    assert {parameter.dtype for parameter in encoder.instantiate().parameters()} == {torch.float32}


def test_descriptions_are_second_segments_where_a_family_has_them(encoder: Encoder) -> None:
    """A post and a description, read as the tokenizer puts two texts together."""
    layout = Layout(16, 2, descriptions=("a dog", "the sun"))
    made = rows(encoder, [marked(20)], layout)
    outputs = agent(encoder, reading="pairs")(collator(encoder, layout)(made))
    assert torch.isfinite(outputs.criteria_logits).all()


def test_a_family_that_mixes_padding_in_is_refused(tmp_path: Path) -> None:
    """Before anything is loaded."""
    source = saved(tmp_path / "model", "bert")
    config = json.loads((tmp_path / "model" / "config.json").read_text()) | {"model_type": "fnet"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="a fnet mixes padding"):
        check_source(source, 16)
