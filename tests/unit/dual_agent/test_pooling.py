"""Pooling by group against plain loops; heads and coupling against their formulas."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import nn

from thriftune.dual_agent.batch import Batch
from thriftune.dual_agent.coupling import EvidenceCoupling, StrongestEvidence
from thriftune.dual_agent.evidence import EvidenceItems
from thriftune.dual_agent.heads import SAMPLES, build_head
from thriftune.dual_agent.pooling import PostPooling, mean_by, softmax_by, weighted_by

pytestmark = pytest.mark.unit
SIZE = 6


def batch_of(window_post: list[int], lengths: list[int], sentence_post: list[int]) -> Batch:
    """Windows of 5 tokens, the first `length` of them owned; posts without targets."""
    windows, posts = len(window_post), max(window_post) + 1
    owned = torch.tensor([[at < length for at in range(5)] for length in lengths])
    return Batch(
        input_ids=torch.zeros(windows, 5, dtype=torch.int64),
        attention_mask=torch.ones(windows, 5, dtype=torch.int64),
        segments=torch.zeros(windows, 5, dtype=torch.int64),
        window_group=torch.tensor(window_post),
        owned=owned,
        token_sentence=torch.full((windows, 5), -1),
        sentence_post=torch.tensor(sentence_post, dtype=torch.int64),
        criteria_targets=torch.zeros(posts, 2),
        sentence_targets=torch.zeros(len(sentence_post), 2),
        sentence_weights=torch.zeros(len(sentence_post), 2),
        evidence_known=torch.ones(posts, 2),
        evidence_tokens=torch.zeros(0, 4, dtype=torch.int64),
    )


def test_softmax_by_group_is_the_softmax_of_each() -> None:
    """Values and gradients, with scores far apart, and a group that is empty."""
    scores = torch.tensor([1.0, -2.0, 300.0, 299.0, -300.0], requires_grad=True)
    group = torch.tensor([0, 0, 2, 2, 3])
    found = softmax_by(scores, group, 4)
    plain = scores.detach().clone().requires_grad_()
    expected = torch.cat([torch.softmax(plain[part], 0) for part in (slice(0, 2), slice(2, 4), slice(4, 5))])
    assert torch.allclose(found, expected)
    weights = torch.arange(5.0)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.allclose(scores.grad, plain.grad, atol=1e-6)  # type: ignore[arg-type]


def test_means_and_sums_by_group() -> None:
    """Against a loop; an empty group is a zero vector."""
    vectors, group = torch.randn(4, SIZE), torch.tensor([0, 2, 2, 0])
    found = mean_by(vectors, group, 3)
    assert torch.allclose(found[0], (vectors[0] + vectors[3]) / 2)
    assert torch.equal(found[1], torch.zeros(SIZE))
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    summed = weighted_by(vectors, weights, group, 3)
    assert torch.allclose(summed[2], 0.2 * vectors[1] + 0.3 * vectors[2])


def test_attention_pools_over_all_windows_of_a_post() -> None:
    """One softmax over the owned tokens of both windows."""
    torch.manual_seed(0)
    pooling, hidden = PostPooling("attention", SIZE), torch.randn(3, 5, SIZE)
    found = pooling((hidden,), batch_of([0, 0, 1], [5, 2, 3], []), 2)
    tokens = torch.cat([hidden[0], hidden[1, :2]])
    expected = torch.softmax(pooling.score(tokens)[:, 0], 0) @ tokens
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_cls_is_the_first_token_of_each_window() -> None:
    """Their mean where a post has several."""
    hidden = torch.randn(3, 5, SIZE)
    found = PostPooling("cls", SIZE)((hidden,), batch_of([0, 0, 1], [5, 2, 3], []), 2)
    assert torch.allclose(found, torch.stack([(hidden[0, 0] + hidden[1, 0]) / 2, hidden[2, 0]]))


def test_last2_starts_as_the_mean_of_both_layers_and_learns_its_mix() -> None:
    """At first each layer has half; the mix has a gradient."""
    pooling, below, above = PostPooling("last2", SIZE), torch.randn(1, 5, SIZE), torch.randn(1, 5, SIZE)
    assert pooling.layers == 2
    found = pooling((below, above), batch_of([0], [4], []), 1)
    assert torch.allclose(found[0], (below[0, :4] + above[0, :4]).mean(dim=0) / 2)
    found.square().sum().backward()
    assert pooling.mix.grad is not None
    assert pooling.mix.grad.abs().sum() > 0


def test_evidence_is_the_mean_of_the_sentences_by_how_sure_they_are() -> None:
    """Weights are the sigmoids of the likeliest criterion; a post without sentences has a zero vector."""
    posts, sentences = torch.randn(2, SIZE), torch.randn(2, SIZE)
    items = EvidenceItems(sentences, torch.tensor([[2.0, -5.0], [-1.0, -3.0]]), torch.tensor([0, 0]))
    sure = torch.sigmoid(torch.tensor([2.0, -1.0]))
    evidence = (sure[:, None] * sentences).sum(dim=0) / sure.sum()
    found = {kind: EvidenceCoupling(kind, SIZE) for kind in ("concat", "sum", "gated")}
    assert torch.allclose(found["sum"](posts, items)[0], posts[0] + evidence, atol=1e-6)
    concat = found["concat"](posts, items)
    assert found["concat"].size == 2 * SIZE
    assert torch.allclose(concat[0], torch.cat([posts[0], evidence]), atol=1e-6)
    assert torch.equal(concat[1], torch.cat([posts[1], torch.zeros(SIZE)]))
    gated = found["gated"](posts, items)[0]
    share = torch.sigmoid(found["gated"].gate(torch.cat([posts[0], evidence])))
    assert torch.allclose(gated, share * posts[0] + (1 - share) * evidence, atol=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_the_strongest_evidence_for_a_criterion_joins_its_logit(pairs: bool) -> None:
    """The mean of a post's logits by their softmax, each criterion for itself; of none a hundredth's."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(5, 2)
    owner = torch.tensor([0, 0, 0, 2, 2])  # the second post has no sentence
    items = EvidenceItems(torch.randn(5, SIZE), logits, owner)
    if pairs:  # an item a sentence and criterion, a group a post and criterion
        group = (owner[:, None] * 2 + torch.arange(2)).reshape(-1)
        items = EvidenceItems(torch.randn(10, SIZE), logits.reshape(-1, 1), group)
    coupling = StrongestEvidence(2)
    torch.nn.init.normal_(coupling.weight)
    found = coupling(items, 3)
    for post, criterion in product(range(3), range(2)):
        own = logits[owner == post, criterion]
        strongest = (
            (torch.softmax(4 * own, 0) * own).sum() if len(own) else torch.tensor(math.log(0.01 / 0.99))
        )
        expected = float(strongest * coupling.weight[criterion].detach())
        assert float(found[post, criterion].detach()) == pytest.approx(expected, abs=1e-5)
        if len(own):
            assert own.mean() <= strongest <= own.max() + 1e-6


def test_the_strongest_evidence_stands_out_in_a_long_post() -> None:
    """Five thousand unlikely sentences do not hide a likely one."""
    logits = torch.full((5001, 1), -4.6)
    logits[7] = 3.0
    items = EvidenceItems(torch.zeros(5001, SIZE), logits, torch.zeros(5001, dtype=torch.int64))
    assert float(StrongestEvidence(1)(items, 1).detach()) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("kind", ["linear", "mlp", "residual", "gated", "multi_sample"])
def test_heads_learn_what_they_are_shown(kind: str) -> None:
    """Each fits eight random labels; a batch's rows do not touch each other in evaluation."""
    torch.manual_seed(0)
    head, inputs, targets = (
        build_head(kind, 16, 2, 0.0),
        torch.randn(8, 16),
        torch.randint(0, 2, (8, 2)).float(),
    )
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(head(inputs), targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    with torch.no_grad():
        assert torch.allclose(head.eval()(inputs)[3], head(inputs[3:4])[0], atol=1e-6)


def test_gated_and_residual_heads_are_their_formulas() -> None:
    """GEGLU, and x plus its feed-forward block."""
    torch.manual_seed(0)
    x = torch.randn(3, SIZE)
    head = build_head("gated", SIZE, 2, 0.0)
    gate, value = (x @ head[1].both.weight.T + head[1].both.bias).split(SIZE, dim=-1)
    assert torch.allclose(head(x), head[3](nn.functional.gelu(gate) * value), atol=1e-6)
    head = build_head("residual", SIZE, 2, 0.0)
    block = head[1]
    with torch.no_grad():
        block.inner[-1].weight.zero_()
        block.inner[-1].bias.zero_()
        assert torch.equal(block(x), x)


def test_multi_sample_averages_masks_in_training_alone() -> None:
    """In training the mean over several masks, which spreads less than one; else the layer."""
    torch.manual_seed(0)
    x = torch.randn(1, 64)
    head = build_head("multi_sample", 64, 1, 0.5)
    plain = nn.Sequential(nn.Dropout(0.5), head.linear)
    with torch.no_grad():
        assert torch.equal(head.eval()(x), head.linear(x))
        head.train()
        many, one = (torch.stack([model(x) for _ in range(400)]).var() for model in (head, plain))
    assert many < one / SAMPLES * 1.6
