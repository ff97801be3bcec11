"""The dual agent: windows merged exactly, no post changes another's result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.agents import LAYOUT, SOURCE, WORDS, agent, collator, marked, post, rows
from transformers import BertModel

from thriftune import files
from thriftune.checkpoints.hashing import write_hashed
from thriftune.checkpoints.tensors import read_verified, serialise, tensors_in
from thriftune.config import ModelConfig
from thriftune.corpus.types import Post
from thriftune.dual_agent.agents import Outputs
from thriftune.dual_agent.windows import owned_ranges, window_spans
from thriftune.errors import ConfigError, DamageError
from thriftune.model.encoder import Encoder, build_encoder
from thriftune.model.losses import joint_loss
from thriftune.model.trainable import DualAgent

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A tiny encoder with its own tokenizer."""
    return build_encoder(SOURCE, lambda: [" ".join(WORDS)], tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    ("pooling", "head", "coupling"),
    [
        ("mean", "linear", "independent"),
        ("cls", "mlp", "concat"),
        ("attention", "residual", "sum"),
        ("last2", "gated", "gated"),
        ("attention", "multi_sample", "concat"),
    ],
)
def test_a_post_has_the_same_logits_in_any_batch(
    encoder: Encoder, pooling: str, head: str, coupling: str
) -> None:
    """Alone, or beside longer and shorter posts, in another order."""
    model = agent(
        encoder,
        criteria_agent={"pooling": pooling, "head": head},
        evidence_agent={"head": head},
        coupling=coupling,
    )
    made = rows(encoder, [post(5), post(40, 1), post(90, 2)])
    with torch.no_grad():
        together = model(collator(encoder)(made))
        backwards = model(collator(encoder)(made[::-1]))
        alone = [model(collator(encoder)([row])) for row in made]
    for i, single in enumerate(alone):
        assert torch.allclose(together.criteria_logits[i], single.criteria_logits[0], atol=1e-5)
        assert torch.allclose(backwards.criteria_logits[2 - i], single.criteria_logits[0], atol=1e-5)
    assert torch.allclose(together.evidence.logits, torch.cat([s.evidence.logits for s in alone]), atol=1e-5)


def test_every_token_is_owned_once_and_windows_cover_all() -> None:
    """For any length, each token belongs to one window that holds it, with most context around it."""
    for tokens in range(80):
        for room, overlap in ((10, 0), (10, 3), (10, 9)):
            spans = window_spans(tokens, room, overlap)
            owned = owned_ranges(tokens, spans)
            assert spans[0][0] == 0
            assert spans[-1][1] == tokens
            assert all(end - start <= room for start, end in spans)
            owners = [number for number, (first, last) in enumerate(owned) for _ in range(first, last)]
            assert len(owners) == tokens
            for index, owner in enumerate(owners):
                context = [
                    min(
                        index - start if start else tokens,
                        end - 1 - index if end < tokens else tokens,
                    )
                    for start, end in spans
                ]
                assert owner == context.index(max(context))


def test_windows_left_out_weigh_nothing(encoder: Encoder) -> None:
    """With max_windows a sentence without tokens is counted in no loss; an empty post is a zero vector."""
    made = rows(encoder, [post(90)])
    whole, cut = (collator(encoder)(made, limit) for limit in (None, 1))
    assert whole.sentence_weights.all()
    assert 0 < cut.sentence_weights[:, 0].sum() < len(cut.sentence_weights)
    empty = Post(post_id="e", text="", sentences=(), criteria=(), evidence=())
    outputs = agent(encoder)(collator(encoder)(rows(encoder, [empty])))
    assert torch.isfinite(outputs.criteria_logits).all()
    assert outputs.evidence.logits.shape == (0, 2)


def test_either_agent_alone_has_the_other_s_loss_left_out(encoder: Encoder) -> None:
    """The joint loss is the sum of both by weight."""
    batch = collator(encoder)(rows(encoder, [post(20), post(10, 1)]))
    both = agent(encoder, criteria_agent={"weight": 0.5}, evidence_agent={"weight": 2.0})
    outputs = both(batch)
    total = joint_loss(both, outputs, batch, None, None)
    parts = [
        joint_loss(both, Outputs(c, s), batch, None, None)
        for c, s in ((outputs.criteria_logits, None), (None, outputs.evidence))
    ]
    assert torch.allclose(total, sum(parts))
    alone = agent(encoder, evidence_agent={"weight": 0.0})
    assert alone(batch).evidence is None
    assert alone.signature()["evidence_head"] is None
    alone.set_thresholds(torch.tensor([0.1, 0.2]), None)
    assert alone.criteria_thresholds.tolist() == pytest.approx([0.1, 0.2])
    with pytest.raises(ValueError, match="both agents"):
        Outputs(None, None).zero()


def test_each_agent_s_loss_counts_by_its_weight(encoder: Encoder) -> None:
    """Twice the weight is twice the loss, for either alone."""
    batch = collator(encoder)(rows(encoder, [marked(20), post(10, 1)]))
    for one, other in (("criteria_agent", "evidence_agent"), ("evidence_agent", "criteria_agent")):
        models = [agent(encoder, **{one: {"weight": weight}, other: {"weight": 0.0}}) for weight in (1, 2)]
        single, double = (joint_loss(model, model(batch), batch, None, None) for model in models)
        assert single > 0
        assert torch.allclose(double, 2 * single)


@pytest.mark.parametrize("kind", ["span", "biaffine"])
def test_the_loss_of_ranges_is_by_post_where_nothing_is_to_be_found(encoder: Encoder, kind: str) -> None:
    """A post twice has the loss of the post; its labels are not smoothed: nearly all ranges are none."""
    settings, layout = {"kind": kind}, replace(LAYOUT, token_ranges=True)
    model = agent(encoder, evidence_agent=settings, criteria_agent={"weight": 0.0})
    smooth = agent(
        encoder, evidence_agent={**settings, "label_smoothing": 0.2}, criteria_agent={"weight": 0.0}
    )
    losses = []
    for posts, one in (([post(20)], model), ([post(20)] * 2, model), ([post(20)], smooth)):
        batch = collator(encoder, layout)(rows(encoder, posts, layout))
        losses.append(joint_loss(one, one(batch), batch, None, None))
    assert losses[0] > 0
    assert torch.allclose(losses[1], losses[0])
    assert torch.equal(losses[2], losses[0])


def test_the_description_is_a_second_segment_to_the_encoder(encoder: Encoder) -> None:
    """Of pairs; what the encoder says depends on it."""
    layout = replace(LAYOUT, max_length=32, descriptions=("dogs bark", "suns rise"))
    batch = collator(encoder, layout)(rows(encoder, [post(10)], layout))
    model = agent(encoder, reading="pairs")
    told, untold = (
        model.encode(one)[-1] for one in (batch, replace(batch, segments=torch.zeros_like(batch.segments)))
    )
    assert batch.segments.any()
    assert not torch.allclose(told, untold)


def test_adapters_have_the_scale_and_the_dropout_that_were_asked_for(encoder: Encoder) -> None:
    """alpha / rank, and dropout of what goes in."""
    model = agent(encoder, fine_tuning="lora", lora={"rank": 4, "alpha": 12, "dropout": 0.25})
    adapted = [module for module in model.encoder.modules() if hasattr(module, "lora_A")]
    assert adapted
    assert {module.scaling["default"] for module in adapted} == {3.0}
    assert {module.lora_dropout["default"].p for module in adapted} == {0.25}


def test_top_layers_alone_move(encoder: Encoder) -> None:
    """The last layer, the heads, and nothing below; one layer too many is refused."""
    config = encoder.instantiate().config
    config.num_hidden_layers = 3
    deep = BertModel(config, add_pooling_layer=False)
    settings = [ModelConfig(fine_tuning="top_layers", trained_layers=layers) for layers in (1, 4)]
    model = DualAgent(deep, settings[0], ("A", "B"))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if name.startswith("encoder.")} == {
        name for name, _ in model.named_parameters() if name.startswith("encoder.encoder.layer.2.")
    }
    batch = collator(encoder)(rows(encoder, [post(20)]))
    joint_loss(model, model(batch), batch, None, None).backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained
    assert model.base()["frozen"].keys() == {  # type: ignore[index]
        "encoder.embeddings",
        "encoder.encoder.layer.0",
        "encoder.encoder.layer.1",
    }
    with pytest.raises(ConfigError, match="has 3 layers"):
        DualAgent(deep, settings[1], ("A", "B"))


def test_heads_only_leaves_the_encoder_alone(encoder: Encoder) -> None:
    """No gradient and no dropout in it."""
    model = agent(encoder, fine_tuning="heads").train()
    assert not model.encoder.training
    batch = collator(encoder)(rows(encoder, [post(20)]))
    joint_loss(model, model(batch), batch, None, None).backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.criteria_head.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("fine_tuning", ["heads", "lora"])
def test_only_what_is_trained_is_stored_and_the_base_is_verified(
    encoder: Encoder, tmp_path: Path, fine_tuning: str
) -> None:
    """A checkpoint weighs its trained tensors, loads into the same base, and is refused on another one."""
    trained = agent(encoder, fine_tuning=fine_tuning)
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=0.1)
    made = rows(encoder, [post(20), post(20, 1)])
    batch = collator(encoder)(made)
    outputs = trained.train()(batch)
    joint_loss(trained, outputs, batch, None, None).backward()
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    optimizer.step()
    moved = {name for name, tensor in trained.state_dict().items() if not torch.equal(tensor, before[name])}
    state = trained.trained_state()
    assert moved <= state.keys()
    assert any(name.startswith("encoder.") for name in moved) == (fine_tuning == "lora")
    path = tmp_path / "model.safetensors"
    with files.NewFile(path) as handle:
        fact = write_hashed(handle, serialise(state))
    assert fact.size <= sum(t.numel() * t.element_size() for t in state.values()) + 64 * 1024
    assert fact.size < sum(t.numel() * t.element_size() for t in trained.state_dict().values())
    again = agent(encoder, fine_tuning=fine_tuning)
    assert again.signature() == trained.signature()
    again.load_trained(tensors_in(read_verified(path, fact)))
    for name, tensor in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    torch.manual_seed(1)
    other = DualAgent(encoder.instantiate(), trained.config, ("A", "B"))
    assert other.signature()["base"] != trained.signature()["base"]
    with pytest.raises(DamageError, match="trained tensors differ"):
        agent(encoder).load_trained(state)


def test_adapters_are_folded_into_a_plain_encoder(encoder: Encoder) -> None:
    """The exported encoder gives what the adapted one gave, with the base's own names."""
    model = agent(encoder, fine_tuning="lora")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    ids = torch.tensor([[2, 7, 8, 3]])
    with torch.no_grad():
        expected = model.encoder(ids).last_hidden_state
        plain = model.merged_encoder()
        assert torch.allclose(plain(ids).last_hidden_state, expected, atol=1e-5)
    assert plain.state_dict().keys() == encoder.instantiate().state_dict().keys()
