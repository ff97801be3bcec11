"""The chain against brute force, ranges against exhaustive search, losses against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.agents import LAYOUT, PAIRS, SOURCE, TOKENS, WORDS, agent, collator, marked, post, rows
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from thriftune.corpus.tokens import tokenise
from thriftune.corpus.types import Post
from thriftune.dual_agent.chain import BEGIN, INSIDE, OUTSIDE, LinearChain
from thriftune.dual_agent.evidence import BiaffineScorer, EvidenceOutputs, SpanScorer, Tagger, padded
from thriftune.dual_agent.ranges import LEAST_SCORE, best_ranges, ranges_inside
from thriftune.dual_agent.windows import Layout, marked_sentences, tokens_inside
from thriftune.evaluation.evidence_metrics import evidence_metrics
from thriftune.evaluation.predict import predict
from thriftune.evaluation.predictions import decide
from thriftune.model.encoder import Encoder, build_encoder
from thriftune.model.losses import joint_loss

pytestmark = pytest.mark.unit
KINDS = ("span", "biaffine", "tagger", "crf_tagger")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A tiny encoder with its own tokenizer."""
    return build_encoder(SOURCE, lambda: [" ".join(WORDS)], tmp_path_factory.mktemp("cache"))


def chain_of(criteria: int, *, learned: bool) -> LinearChain:
    """With parameters drawn at random."""
    chain = LinearChain(criteria, learned=learned)
    for parameter in chain.parameters():
        torch.nn.init.normal_(parameter)
    return chain


def every_row(chain: LinearChain, emissions: torch.Tensor, criterion: int) -> dict[tuple[int, ...], float]:
    """The score of every row of labels of [tokens, 3] emissions, added up the long way."""
    first, follows, last = (value[criterion % len(value)] for value in chain.scores())
    found = {}
    for labels in product(range(3), repeat=len(emissions)):
        score = first[labels[0]] + last[labels[-1]]
        score = score + sum(emissions[token, label] for token, label in enumerate(labels))
        score = score + sum(follows[a, b] for a, b in pairwise(labels))
        found[labels] = float(score.detach())
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_chain_is_that_of_brute_force(seed: int) -> None:
    """Partition, likelihood, marginals and the likeliest row, of posts of one to five tokens at once."""
    torch.manual_seed(seed)
    counts, criteria = [5, 1, 3], 2
    there = torch.arange(5) < torch.tensor(counts)[:, None]
    chain, emissions = chain_of(criteria, learned=True), torch.randn(3, 5, criteria, 3)
    labels = torch.zeros(3, 5, criteria, dtype=torch.int64)
    labels[0, 1:4, 0] = torch.tensor([BEGIN, INSIDE, BEGIN])
    labels[2, 0:2, 1] = torch.tensor([BEGIN, INSIDE])
    partition, likelihood = (
        chain.log_partition(emissions, there),
        chain.log_likelihood(emissions, there, labels),
    )
    likeliest, marginals = chain.likeliest(emissions, there), chain.marginals(emissions, there)
    for (at, count), criterion in product(enumerate(counts), range(criteria)):
        scores = every_row(chain, emissions[at, :count, criterion], criterion)
        total = float(torch.logsumexp(torch.tensor(list(scores.values())), dim=0))
        assert float(partition[at, criterion].detach()) == pytest.approx(total, abs=1e-4)
        own = tuple(labels[at, :count, criterion].tolist())
        assert float(likelihood[at, criterion].detach()) == pytest.approx(scores[own] - total, abs=1e-4)
        assert tuple(likeliest[at, :count, criterion].tolist()) == max(scores, key=scores.__getitem__)
        assert not likeliest[at, count:].any()
        for token, label in product(range(count), range(3)):
            share = sum(math.exp(score - total) for row, score in scores.items() if row[token] == label)
            assert float(marginals[at, token, criterion, label]) == pytest.approx(share, abs=1e-4)


def test_no_inside_follows_an_outside() -> None:
    """Whatever the emissions say, learned or not; without a learned chain the rest is up to each token."""
    torch.manual_seed(0)
    there = torch.ones(20, 4, dtype=torch.bool)
    for learned in (False, True):
        chain, emissions = chain_of(1, learned=learned), 5 * torch.randn(20, 4, 1, 3)
        for row in chain.likeliest(emissions, there)[..., 0].tolist():
            assert all(
                after != INSIDE or before != OUTSIDE for before, after in zip([0, *row], row, strict=False)
            )
    plain = LinearChain(1, learned=False)
    for each in torch.randn(10, 1, 4, 1, 3):
        scores = every_row(plain, torch.log_softmax(each[0, :, 0], dim=-1), 0)
        found = plain.likeliest(each, there[:1])[0, :, 0]
        assert tuple(found.tolist()) == max(scores, key=scores.__getitem__)


def searched(table: np.ndarray[Any, Any], threshold: float) -> list[tuple[int, int, float]]:
    """The best of all ranges that are free, again and again."""
    taken: set[int] = set()
    found = []
    while True:
        free = [
            (-float(table[first, more]), first, first + more)
            for first, more in product(*map(range, table.shape))
            if not taken & set(range(first, first + more + 1)) and table[first, more] >= threshold
        ]
        if not free:
            return found
        score, first, last = min(free)
        found.append((first, last, -score))
        taken |= set(range(first, last + 1))


@pytest.mark.parametrize("seed", range(20))
def test_ranges_are_those_of_exhaustive_search(seed: int) -> None:
    """With ties; and what is left of them at a threshold is what is found with it."""
    chance = np.random.default_rng(seed)
    tokens, longest = int(chance.integers(1, 9)), int(chance.integers(1, 5))
    table = np.round(chance.random((tokens, longest)), 1).astype(np.float32)
    table[~ranges_inside(torch.tensor([tokens]), longest).numpy()] = 0.0
    found = best_ranges(torch.from_numpy(table.copy()))
    assert found == searched(table, LEAST_SCORE)
    for threshold in (0.3, 0.65):
        assert [each for each in found if each[2] >= threshold] == searched(table, threshold)
    assert best_ranges(torch.zeros(0, 3)) == []
    assert best_ranges(torch.zeros(2, 3)) == []


def test_a_start_and_an_end_make_a_range() -> None:
    """Its score is the product of both; the longest is kept to; posts do not run into each other."""
    scorer = SpanScorer("linear", 4, 2, 0.0, 1, longest=3)
    logits = torch.full((7, 2, 2), -20.0)  # posts of four and three tokens
    logits[1, 0, 0], logits[2, 1, 0] = 3.0, 2.0
    logits[0, 0, 1] = logits[3, 1, 1] = 9.0  # four tokens long: too long
    logits[3, 0, 0] = logits[4, 1, 0] = 9.0  # from one post to the next
    items: Any = None
    first, second = scorer.ranges(EvidenceOutputs(logits, items, torch.tensor([4, 3])))
    sure = float(torch.sigmoid(torch.tensor(3.0)) * torch.sigmoid(torch.tensor(2.0)))
    assert first == [(0, 1, 2, pytest.approx(sure))]
    assert second == []


@pytest.mark.parametrize("pairs", [1, 2])
def test_biaffine_scores_are_those_of_the_formula(pairs: int) -> None:
    """s_i U e_j with a one behind both, of every range; ranges are searched exhaustively."""
    torch.manual_seed(1)
    scorer = BiaffineScorer("linear", 6, 2, 0.0, pairs, longest=3).eval()
    torch.nn.init.normal_(scorer.weight, std=0.3)
    vectors = torch.randn(5, 6) if pairs == 1 else torch.randn(5, 2, 6)
    counts = torch.tensor([3, 2])
    with torch.no_grad():
        logits = scorer.score(vectors)
        starts, ends = scorer.start(vectors), scorer.end(vectors)
    one = torch.ones(1)
    posts = ((0, 3), (3, 5))
    items: Any = None
    found = scorer.ranges(EvidenceOutputs(logits, items, counts))
    for (begin, end), own in zip(posts, found, strict=True):
        for criterion in range(2):
            table = np.zeros((end - begin, 3), dtype=np.float32)
            for first, more in product(range(begin, end), range(3)):
                if first + more >= end:
                    continue
                start = starts[first] if pairs == 1 else starts[first, criterion]
                last = ends[first + more] if pairs == 1 else ends[first + more, criterion]
                weight = scorer.weight[criterion if pairs == 1 else 0].detach()
                score = float(torch.cat([start, one]) @ weight @ torch.cat([last, one]))
                assert float(logits[first, more, criterion]) == pytest.approx(score, abs=1e-4)
                table[first - begin, more] = 1 / (1 + math.exp(-score))
            expected = sorted(searched(table, LEAST_SCORE))
            mine = [each[1:] for each in own if each[0] == criterion]
            assert [each[:2] for each in mine] == [each[:2] for each in expected]
            assert [each[2] for each in mine] == pytest.approx([each[2] for each in expected], abs=1e-5)


def test_labels_become_ranges() -> None:
    """A begin right behind another range starts one of its own, an inside behind an outside is none; the
    score is the mean of a range's tokens."""
    tagger = Tagger("linear", 4, 1, 0.0, 1, chained=False)
    logits = torch.zeros(6, 3, 1)
    for token, label in enumerate([BEGIN, INSIDE, BEGIN, OUTSIDE, INSIDE, BEGIN]):
        logits[token, label, 0] = 1.0 if token == 4 else 4.0 + token
    items: Any = None
    (found,) = tagger.ranges(EvidenceOutputs(logits, items, torch.tensor([6])))
    inside = 1 - torch.softmax(logits[..., 0], dim=1)[:, OUTSIDE]
    assert [(first, last) for _, first, last, _ in found] == [(0, 1), (2, 2), (5, 5)]
    assert found[0][3] == pytest.approx(float(inside[:2].mean()))


@pytest.mark.parametrize("kind", ["sentence", *KINDS])
@pytest.mark.parametrize("reading", ["posts", "pairs"])
@pytest.mark.parametrize("coupling", ["independent", "concat"])
def test_a_post_is_read_alike_in_any_batch(encoder: Encoder, kind: str, reading: str, coupling: str) -> None:
    """Alone or beside others, whichever agent and whichever way of reading."""
    layout = PAIRS if reading == "pairs" else TOKENS
    model = agent(encoder, evidence_agent={"kind": kind}, reading=reading, coupling=coupling)
    with torch.no_grad():  # so that there is something to find
        for name, parameter in model.named_parameters():
            if not name.startswith("encoder."):
                parameter.add_(0.2 * torch.randn_like(parameter))
            if name.endswith("prior_bias"):
                parameter.zero_()
    posts = [post(5), marked(40, 1), marked(90, 2)]
    made, batches = rows(encoder, posts, layout), collator(encoder, layout)
    with torch.no_grad():
        together, backwards = model(batches(made)), model(batches(made[::-1]))
        alone = [model(batches([row])) for row in made]
    logits, singly = together.evidence.logits, torch.cat([single.evidence.logits for single in alone])
    if kind == "biaffine":  # a range that ends behind its post is none
        inside = ranges_inside(together.evidence.counts, model.shape.longest)[:, :, None]
        logits, singly = logits * inside, singly * inside
    assert torch.allclose(logits, singly, atol=1e-5)
    assert torch.allclose(
        together.criteria_logits, torch.cat([single.criteria_logits for single in alone]), atol=1e-5
    )
    assert torch.allclose(backwards.criteria_logits.flip(0), together.criteria_logits, atol=1e-5)
    if kind != "sentence":
        found = [model.evidence_agent.ranges(single.evidence)[0] for single in alone]
        for one, other in zip(found, model.evidence_agent.ranges(together.evidence), strict=True):
            assert [each[:3] for each in one] == [each[:3] for each in other]


def test_pairs_read_the_text_and_then_the_description(encoder: Encoder) -> None:
    """As the tokenizer itself puts both together; a criterion's logits are those of its own pair."""
    made, batches = rows(encoder, [marked(15), marked(60, 3)], PAIRS), collator(encoder, PAIRS)
    batch = batches(made[:1])
    text = post(15).text
    start, end = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    for at, description in enumerate(PAIRS.descriptions):
        first, second = (
            encoder.tokenizer(each, add_special_tokens=False)["input_ids"] for each in (text, description)
        )
        pair = [start, *first, end, *second, end]
        (window,) = torch.where(batch.window_group == at)[0].tolist()
        assert batch.input_ids[window, : len(pair)].tolist() == pair
        assert batch.segments[window].sum() == len(second) + 1
        assert batch.segments[window, len(first) + 2 : len(pair)].all()
        assert batch.attention_mask[window].sum() == len(pair)
    assert batches(made).input_ids.shape[1] <= PAIRS.max_length
    model = agent(encoder, reading="pairs")
    swapped = collator(encoder, Layout(24, 4, PAIRS.descriptions[::-1], True))
    with torch.no_grad():
        there, back = model(batches(made)), model(swapped(made))
    assert torch.allclose(there.criteria_logits, back.criteria_logits.flip(1), atol=1e-5)
    assert torch.allclose(there.evidence.logits, back.evidence.logits.flip(1), atol=1e-5)
    assert not torch.allclose(there.criteria_logits, back.criteria_logits, atol=1e-5)


def test_ranges_of_characters_and_of_tokens(encoder: Encoder) -> None:
    """An annotated sentence is its own tokens, and these are that sentence again."""
    (row,) = rows(encoder, [marked(40, 1)], TOKENS)
    for (criterion, first, last), (same, start, end) in zip(
        row["evidence_tokens"], row["evidence"], strict=True
    ):
        assert criterion == same
        assert (row["tokens"][first][0], row["tokens"][last][1]) == (start, end)
        assert tokens_inside(row["tokens"], (start, end)) == (first, last)
        (sentence,) = marked_sentences((start, end), row["sentences"])
        assert row["sentence_targets"][sentence][criterion] == 1
    assert tokens_inside(row["tokens"], (0, 0)) is None
    (plain,) = rows(encoder, [marked(40, 1)], LAYOUT)
    assert plain["tokens"] == plain["evidence_tokens"] == []


@pytest.mark.parametrize("kind", ["span", "biaffine"])
def test_losses_of_ranges_are_sums_by_what_is_to_be_found(encoder: Encoder, kind: str) -> None:
    """Cross-entropy of every start and end, or of every range; none of a criterion whose place is unknown."""
    config = {"kind": kind, "loss": "bce", "longest_range": 4}
    model = agent(encoder, evidence_agent=config, criteria_agent={"weight": 0.0})
    made = rows(encoder, [marked(30), marked(15, 2)], TOKENS)
    made[1]["evidence_known"][1] = 0
    batch = collator(encoder, TOKENS)(made)
    outputs = model(batch)
    total, at = 0.0, 0
    logits = outputs.evidence.logits.detach()
    for row in made:
        length = len(row["tokens"])
        for token, criterion in product(range(length), range(2)):
            if not row["evidence_known"][criterion]:
                continue
            own = [each[1:] for each in row["evidence_tokens"] if each[0] == criterion]
            cut = {(first, min(last, first + 3)) for first, last in own}
            if kind == "span":
                wanted = [token in {first for first, _ in cut}, token in {last for _, last in cut}]
            else:
                wanted = [(token, token + more) in cut for more in range(4) if token + more < length]
            for logit, yes in zip(logits[at + token, :, criterion].tolist(), wanted, strict=False):
                total += math.log1p(math.exp(-logit if yes else logit))
        at += length
    assert float(joint_loss(model, outputs, batch, None, None).detach()) == pytest.approx(total / 3, rel=1e-4)


@pytest.mark.parametrize("kind", ["tagger", "crf_tagger"])
def test_losses_of_taggers_are_means_over_tokens(encoder: Encoder, kind: str) -> None:
    """Cross-entropy, or minus the log likelihood; none of a criterion whose place is unknown."""
    model = agent(encoder, evidence_agent={"kind": kind}, criteria_agent={"weight": 0.0})
    made = rows(encoder, [marked(20), marked(10, 2)], TOKENS)
    made[1]["evidence_known"][1] = 0
    batch = collator(encoder, TOKENS)(made)
    outputs = model(batch)
    emissions, there = padded(outputs.evidence)
    total = tokens = 0.0
    for number, row in enumerate(made):
        for criterion in range(2):
            if not row["evidence_known"][criterion]:
                continue
            labels = torch.zeros(len(row["tokens"]), dtype=torch.int64)
            for own, first, last in row["evidence_tokens"]:
                if own == criterion:
                    labels[first : last + 1] = INSIDE
                    labels[first] = BEGIN
            own_emissions = emissions[number, : len(labels), criterion]
            tokens += len(labels)
            if kind == "tagger":
                own = torch.nn.functional.cross_entropy(own_emissions, labels, reduction="sum")
                total += float(own.detach())
            else:
                # Each criterion has a chain of its own; the others' emissions do not matter.
                both = own_emissions[None, :, None].expand(-1, -1, 2, -1)
                marks = labels[None, :, None].expand(-1, -1, 2)
                every = there[number : number + 1, : len(labels)]
                own = model.evidence_agent.chain.log_likelihood(both, every, marks)[0, criterion]
                total -= float(own.detach())
    assert float(joint_loss(model, outputs, batch, None, None).detach()) == pytest.approx(
        total / tokens, rel=1e-4
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=8),
    st.integers(0, 60),
    st.integers(0, 30),
)
def test_marked_sentences_are_those_of_the_rule(parts: list[tuple[int, int]], start: int, size: int) -> None:
    """Covered by more than half, else the first of those overlapped most, else none; looked at one by one."""
    sentences, at = [], 0
    for gap, length in parts:
        sentences.append((at + gap, at + gap + length))
        at += gap + length
    end = start + size
    overlaps = [max(0, min(end, e) - max(start, s)) for s, e in sentences]
    half = [i for i, (s, e) in enumerate(sentences) if overlaps[i] * 2 > e - s]
    expected = half or ([overlaps.index(max(overlaps))] if any(overlaps) else [])
    assert marked_sentences((start, end), sentences) == expected


def test_ranges_that_were_left_out_are_not_learned(encoder: Encoder) -> None:
    """With max_windows, evidence behind the last window is missing and one that reaches over is cut."""
    (row,) = rows(encoder, [marked(60)], TOKENS)
    whole = collator(encoder, TOKENS)([row])
    cut = collator(encoder, TOKENS)([row], 1)
    assert whole.evidence_tokens[:, 1].tolist() == [0, 1]
    left = int(cut.owned.sum())
    assert cut.evidence_tokens.tolist() == [
        [0, 0, first, min(last, left - 1)] for c, first, last in row["evidence_tokens"] if c == 0
    ]


@pytest.mark.parametrize(
    ("kind", "reading"),
    [*((kind, "posts") for kind in ("sentence", *KINDS)), ("span", "pairs"), ("crf_tagger", "pairs")],
)
def test_each_kind_learns_to_find_what_is_annotated(encoder: Encoder, kind: str, reading: str) -> None:
    """A few posts by heart: the very sentences and ranges, and nothing in a post without evidence."""
    layout = PAIRS if reading == "pairs" else TOKENS
    model = agent(encoder, evidence_agent={"kind": kind, "loss": "bce"}, reading=reading, head_dropout=0.0)
    made = rows(encoder, [marked(20), marked(25, 5), post(20, 3)], layout)
    made[2]["criteria"] = [0, 0]
    batches = collator(encoder, layout)
    batch = batches(made)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        joint_loss(model, model(batch), batch, None, None).backward()
        optimizer.step()
    predictions = predict(model, made, batches, 2)
    half = np.full(2, 0.5, dtype=np.float32)
    figures = evidence_metrics(predictions, decide(predictions, half, half))
    assert figures["sentence_f1_micro"] == 1.0
    assert figures["span_exact_match"] == 1.0
    assert figures["null_accuracy"] == 1.0


def test_sentences_that_were_left_out_say_nothing(encoder: Encoder) -> None:
    """With max_windows, what joins the criteria agent is what was read; scores stay in place for the loss."""
    (row,) = rows(encoder, [marked(60)], TOKENS)
    batch = collator(encoder, TOKENS)([row], 1)
    outputs = agent(encoder)(batch).evidence
    read = int(batch.sentence_weights[:, 0].sum())
    assert 0 < read < len(row["sentences"]) == len(outputs.logits)
    assert len(outputs.items.vectors) == len(outputs.items.logits) == len(outputs.items.group) == read


@pytest.mark.parametrize("kind", ["sentence", *KINDS])
def test_a_batch_without_a_token_has_no_evidence(encoder: Encoder, kind: str) -> None:
    """A single empty post, whichever agent; the criteria agent says something all the same."""
    empty = Post(post_id="e", text="", sentences=(), criteria=(), evidence=())
    model = agent(encoder, evidence_agent={"kind": kind})
    found = predict(model, rows(encoder, [empty], TOKENS), collator(encoder, TOKENS), 1)
    assert found.sentence_prob.shape == (0, 2)
    assert np.isfinite(found.criteria_prob).all()
    assert not found.evidence_spans or found.evidence_spans == ((),)


@pytest.mark.parametrize("kind", ["span", "biaffine", "tagger"])
def test_what_is_no_number_is_not_no_evidence(encoder: Encoder, kind: str) -> None:
    """Diverged weights show in the scores of sentences, by which validation stops a trial."""
    model = agent(encoder, evidence_agent={"kind": kind}, criteria_agent={"weight": 0.0})
    with torch.no_grad():
        next(model.evidence_agent.parameters()).fill_(torch.nan)
    found = predict(model, rows(encoder, [marked(20)], TOKENS), collator(encoder, TOKENS), 1)
    assert np.isnan(found.sentence_prob).all()


def test_ranges_begin_with_a_word_where_tokens_begin_before_it() -> None:
    """A byte-level tokenizer counts the white space to the word that follows."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[PAD]", "[CLS]", "[SEP]"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        WORDS, trainers.BpeTrainer(special_tokens=special, initial_alphabet=letters, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    (row,) = tokenise([marked(20)], tokenizer, ("A", "B"), Layout(64, 4, token_ranges=True))
    assert row["evidence_tokens"]
    for (_, first, last), (_, start, end) in zip(row["evidence_tokens"], row["evidence"], strict=True):
        assert (row["tokens"][first][0], row["tokens"][last][1]) == (start, end)


@pytest.mark.parametrize("kind", ["sentence", *KINDS])
def test_a_post_of_7000_words_is_evaluated_whole(encoder: Encoder, kind: str) -> None:
    """Beside a short one as alone, to 1e-5; what its last sentence says counts."""
    model = agent(encoder, evidence_agent={"kind": kind}, coupling="concat")
    long = marked(7000)
    other = replace(long, text=long.text[:-1] + ("x" if long.text[-1] != "x" else "y"))
    made = rows(encoder, [long, other, post(10, 2)], TOKENS)
    batches = collator(encoder, TOKENS)
    assert len(made[0]["sentences"]) == 1400
    alone, changed, together = (predict(model, chosen, batches, 2) for chosen in (made[:1], made[1:2], made))
    assert np.allclose(alone.criteria_prob, together.criteria_prob[:1], atol=1e-5)
    assert np.allclose(alone.sentence_prob, together.sentence_prob[:1400], atol=1e-5)
    assert not np.allclose(alone.criteria_prob, changed.criteria_prob, atol=1e-9)
    with torch.no_grad():
        logits = [model(batches([row])).evidence.logits for row in made[:2]]
    last = slice(-1, None)
    assert not torch.allclose(logits[0][last], logits[1][last], atol=1e-6)
    assert logits[0].shape[0] == (1400 if kind == "sentence" else len(made[0]["tokens"]))
