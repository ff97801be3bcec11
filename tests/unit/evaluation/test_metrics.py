"""Figures against scikit-learn, brute force and cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    hamming_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from thriftune.config import ModelConfig
from thriftune.evaluation.bootstrap import interval, intervals, weighted_figures
from thriftune.evaluation.criteria_metrics import calibration_error, criteria_metrics
from thriftune.evaluation.metrics import (
    BASELINES_OF,
    baselines,
    compute,
    curves,
    flatten,
    produced_metrics,
    warnings,
)
from thriftune.evaluation.predictions import Decisions, Predictions, decide
from thriftune.evaluation.thresholds import best_threshold, share_threshold, tune, tune_all

pytestmark = pytest.mark.unit
CRITERIA = ("A", "B", "C")


def made(seed: int, posts: int = 30) -> Predictions:
    """Random predictions over posts of 0 to 4 sentences of ten characters, a white space apart."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 5, posts)
    owner = np.repeat(np.arange(posts), counts)
    place = np.concatenate([np.arange(count) for count in counts]).astype(int)
    spans = np.stack([place * 11, place * 11 + 10], axis=1)
    marks = generator.random((len(owner), 3)) < 0.2
    truth = generator.random((posts, 3)) < 0.2
    for post, mark in zip(owner, marks, strict=True):
        truth[post] |= mark
    return Predictions(
        criteria=CRITERIA,
        post_ids=tuple(str(i) for i in range(posts)),
        criteria_true=truth,
        criteria_prob=generator.random((posts, 3), dtype=np.float32),
        sentence_post=owner,
        sentence_spans=spans,
        sentence_true=marks,
        sentence_prob=generator.random((len(owner), 3), dtype=np.float32),
        evidence_true=tuple(
            tuple(
                (int(c), *map(int, spans[i]))
                for i in np.flatnonzero(owner == p)
                for c in np.flatnonzero(marks[i])
            )
            for p in range(posts)
        ),
        words=tuple(tuple((s, s + 4) for s in range(0, 11 * int(c), 5)) for c in counts),
    )


def told(predictions: Predictions, decisions: Decisions) -> list[str]:
    """The warnings of an evaluation."""
    return warnings(predictions, decisions, flatten(compute(predictions, decisions)))


@pytest.mark.parametrize("seed", range(8))
def test_criteria_figures_are_those_of_scikit_learn(seed: int) -> None:
    """Every figure of the criteria agent that scikit-learn has."""
    predictions = made(seed)
    decisions = decide(predictions, np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32))
    found = compute(predictions, decisions)
    truth, guess, prob = predictions.criteria_true, decisions.criteria, predictions.criteria_prob
    assert guess is not None
    assert prob is not None
    figures = found["criteria"]
    for average in ("micro", "macro"):
        for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            expected = score(truth, guess, average=average, zero_division=0)
            assert figures[f"{name}_{average}"] == pytest.approx(expected, abs=1e-12)
    assert figures["exact_match"] == accuracy_score(truth, guess)
    for i, name in enumerate(CRITERIA):
        own = figures["per_criterion"][name]
        assert own["f1"] == pytest.approx(f1_score(truth[:, i], guess[:, i], zero_division=0))
        assert own["average_precision"] == pytest.approx(average_precision_score(truth[:, i], prob[:, i]))
        assert own["roc_auc"] == pytest.approx(roc_auc_score(truth[:, i], prob[:, i]))
        assert own["accuracy"] == accuracy_score(truth[:, i], guess[:, i])
        assert own["precision"] == pytest.approx(precision_score(truth[:, i], guess[:, i], zero_division=0))
        assert own["recall"] == pytest.approx(recall_score(truth[:, i], guess[:, i], zero_division=0))
        assert own["confusion"] == confusion_matrix(truth[:, i], guess[:, i], labels=[False, True]).tolist()
        assert (own["support"], own["predicted"]) == (truth[:, i].sum(), guess[:, i].sum())
    assert figures["accuracy"] == pytest.approx(1 - hamming_loss(truth, guess))
    assert figures["average_precision_macro"] == pytest.approx(average_precision_score(truth, prob))
    assert figures["roc_auc_macro"] == pytest.approx(roc_auc_score(truth, prob))
    marks, marked = predictions.sentence_true, decisions.sentences
    evidence = found["evidence"]
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        for average in ("micro", "macro"):
            expected = score(marks, marked, average=average, zero_division=0)
            assert evidence[f"sentence_{name}_{average}"] == pytest.approx(expected, abs=1e-12)
        each = score(marks, marked, average=None, zero_division=0)
        own = [evidence["per_criterion"][criterion][f"sentence_{name}"] for criterion in CRITERIA]
        assert own == pytest.approx(each)


def test_calibration_error_is_that_of_a_case_by_hand() -> None:
    """Three bins of 4, 3 and 1 posts, weighed by how many are in each."""
    probabilities = np.array([0.1, 0.2, 0.15, 0.15, 0.8, 0.9, 0.85, 0.85], dtype=np.float32)
    probabilities[1] = 0.19
    truth = np.array([True, False, True, False, True, True, True, False])
    low, high = probabilities[:4].mean(), probabilities[4:]
    first, second = high[high < 0.9], high[high >= 0.9]
    expected = (
        4 * abs(0.5 - low)
        + len(first) * abs(truth[[4, 6, 7]].mean() - first.mean())
        + len(second) * abs(1.0 - second.mean())
    ) / 8
    assert calibration_error(truth, probabilities) == pytest.approx(expected, abs=1e-6)
    assert calibration_error(truth, truth.astype(np.float32)) == 0


def test_rankings_with_ties_are_those_of_scikit_learn() -> None:
    """Average precision and ROC AUC of probabilities that are the same for many posts."""
    predictions = made(5)
    tied = np.round(predictions.criteria_prob, 1)  # type: ignore[arg-type]
    found = criteria_metrics(CRITERIA, predictions.criteria_true, tied, tied >= 0.5)
    for i, name in enumerate(CRITERIA):
        own, truth = found["per_criterion"][name], predictions.criteria_true[:, i]
        assert own["average_precision"] == pytest.approx(average_precision_score(truth, tied[:, i]))
        assert own["roc_auc"] == pytest.approx(roc_auc_score(truth, tied[:, i]))


@pytest.mark.parametrize("seed", range(4))
def test_ranges_of_tokens_are_counted_as_they_are(seed: int) -> None:
    """Exact match, characters and words of ranges that are no sentences; at a threshold, and only where the
    criterion is met."""
    generator = np.random.default_rng(seed)
    predictions = made(seed)
    lengths = np.bincount(predictions.sentence_post, minlength=30) * 11
    places = []
    for length in lengths:
        starts = range(0, int(length), 7)
        places.append(
            tuple(
                (int(generator.integers(3)), s, s + int(generator.integers(2, 6)), float(generator.random()))
                for s in starts
            )
        )
    half = np.full(3, 0.5, np.float32)
    whole = replace(predictions, evidence_spans=tuple(places))
    decisions = decide(whole, half, half)
    evidence = compute(whole, decisions)["evidence"]
    met = predictions.criteria_prob >= half
    kinds: list[set[Any]] = [set(), set()]
    characters: list[set[Any]] = [set(), set()]
    words: list[set[Any]] = [set(), set()]
    for post in range(30):
        guessed = [(c, s, e) for c, s, e, score in places[post] if score >= 0.5 and met[post, c]]
        assert [place[:3] for place in decisions.evidence_spans[post]] == guessed  # type: ignore[index]
        for kind, found in enumerate((guessed, predictions.evidence_true[post])):
            for c in range(3):
                own = {x for criterion, s, e in found if criterion == c for x in range(s, e)}
                # Ranges a white space apart are one.
                own |= {x for x in range(lengths[post]) if kind == 1 and x - 1 in own and x + 1 in own}
                characters[kind] |= {(post, c, x) for x in own}
                starts = sorted(x for x in own if x - 1 not in own)
                ends = sorted(x + 1 for x in own if x + 1 not in own)
                kinds[kind] |= {(post, c, s, e) for s, e in zip(starts, ends, strict=True)}
                words[kind] |= {
                    (post, c, w)
                    for w in predictions.words[post]
                    if any(s <= w[0] and w[1] <= e for s, e in zip(starts, ends, strict=True))
                }

    def f1(pair: list[set[Any]]) -> float:
        return 2 * len(pair[0] & pair[1]) / (len(pair[0]) + len(pair[1]))

    assert evidence["span_exact_match"] == pytest.approx(f1(kinds))
    assert evidence["character_f1"] == pytest.approx(f1(characters))
    assert evidence["token_f1"] == pytest.approx(f1(words))


@pytest.mark.parametrize("seed", range(8))
def test_spans_and_joint_figures_are_those_of_plain_loops(seed: int) -> None:
    """Exact spans, characters, words, null accuracy and joint F1, counted the long way."""
    predictions = made(seed)
    decisions = decide(predictions, np.full(3, 0.4, np.float32), np.full(3, 0.5, np.float32))
    found = compute(predictions, decisions)
    guess, right = decisions.sentences, decisions.criteria
    assert guess is not None
    assert right is not None
    characters: list[set[Any]] = [set(), set()]
    words: list[set[Any]] = [set(), set()]
    exact: list[set[Any]] = [set(), set()]
    nulls = []
    precision = recall = guessed = true = 0.0
    for post in range(30):
        inside = np.flatnonzero(predictions.sentence_post == post)
        for c in range(3):
            kinds = []
            for kind, marks in enumerate((guess, predictions.sentence_true)):
                chosen = [i for i in inside if marks[i, c]]
                kinds.append(set(chosen))
                runs: list[list[int]] = []
                for i in chosen:
                    start, end = predictions.sentence_spans[i]
                    if runs and start == runs[-1][1] + 1:
                        runs[-1][1] = int(end)
                    else:
                        runs.append([int(start), int(end)])
                for start, end in runs:
                    exact[kind].add((post, c, start, end))
                    characters[kind] |= {(post, c, x) for x in range(start, end)}
                    words[kind] |= {
                        (post, c, w) for w in predictions.words[post] if start <= w[0] and w[1] <= end
                    }
            if not kinds[1]:
                nulls.append(not kinds[0])
            guessed += right[post, c]
            true += predictions.criteria_true[post, c]
            if right[post, c] and predictions.criteria_true[post, c]:
                both = len(kinds[0] & kinds[1])
                nothing = not kinds[0] and not kinds[1]
                precision += 1 if nothing else both / len(kinds[0]) if kinds[0] else 0
                recall += 1 if nothing else both / len(kinds[1]) if kinds[1] else 0

    def f1(pair: list[set[Any]]) -> float:
        return 2 * len(pair[0] & pair[1]) / (len(pair[0]) + len(pair[1]))

    evidence = found["evidence"]
    assert evidence["character_f1"] == pytest.approx(f1(characters))
    assert evidence["token_f1"] == pytest.approx(f1(words))
    assert evidence["span_exact_match"] == pytest.approx(f1(exact))
    assert evidence["null_accuracy"] == pytest.approx(np.mean(nulls))
    p, r = precision / guessed, recall / true
    assert found["joint"]["f1_micro"] == pytest.approx(2 * p * r / (p + r))


def test_one_class_and_nothing_at_all() -> None:
    """No positives: rankings are undefined, F1 is 0; a constant prediction is warned about."""
    predictions = made(0)
    nobody = np.zeros_like(predictions.criteria_true)
    empty = Predictions(
        **{
            **vars(predictions),
            "criteria_true": nobody,
            "sentence_true": predictions.sentence_true & False,
            "evidence_true": ((),) * 30,
        }
    )
    decisions = Decisions(nobody, np.zeros_like(empty.sentence_true))
    found = compute(empty, decisions)
    assert found["criteria"]["roc_auc_macro"] is None
    assert found["criteria"]["per_criterion"]["A"]["average_precision"] is None
    assert (
        found["criteria"]["f1_macro"]
        == found["evidence"]["sentence_f1_micro"]
        == found["joint"]["f1_micro"]
        == 0
    )
    assert found["evidence"]["null_accuracy"] == 1
    assert sum("one constant (never met)" in line for line in told(empty, decisions)) == 3
    everybody = Predictions(
        **{**vars(predictions), "criteria_true": ~nobody, "sentence_true": predictions.sentence_true | True}
    )
    all_marked = Decisions(~nobody, np.ones_like(empty.sentence_true))
    assert compute(everybody, all_marked)["criteria"]["f1_macro"] == 1
    assert compute(everybody, all_marked)["evidence"]["null_accuracy"] == 1.0
    assert baselines(everybody)["criteria_f1_macro_all_positive"] == 1


def test_either_agent_alone() -> None:
    """The other one's section is absent, and what validation makes is known beforehand."""
    predictions = made(1)
    criteria_only = Predictions(**{**vars(predictions), "sentence_prob": None})
    half = np.full(3, 0.5, np.float32)
    assert set(compute(criteria_only, decide(criteria_only, half, half))) == {"criteria"}
    evidence_only = Predictions(**{**vars(predictions), "criteria_prob": None})
    assert set(compute(evidence_only, decide(evidence_only, half, half))) == {"evidence"}
    config = ModelConfig.model_validate({"criteria_agent": {"weight": 0.0}})
    names = produced_metrics(config, CRITERIA)
    assert set(names) == set(flatten(compute(evidence_only, decide(evidence_only, half, half))))
    assert tune_all(evidence_only)[0].tolist() == [0.5, 0.5, 0.5]
    assert tune_all(criteria_only)[1].tolist() == [0.5, 0.5, 0.5]


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9]), st.booleans()), min_size=1, max_size=12)
)
def test_the_threshold_has_the_highest_f1(items: list[tuple[float, bool]]) -> None:
    """No other threshold does better, ties in the probabilities included."""
    probabilities = np.array([p for p, _ in items], dtype=np.float32)
    truth = np.array([t for _, t in items])
    chosen = best_threshold(probabilities, truth)

    def f1(threshold: float) -> float:
        return float(f1_score(truth, probabilities >= np.float32(threshold), zero_division=0))

    if truth.any():
        assert f1(chosen) == pytest.approx(max(f1(t) for t in [0.0, 0.15, 0.25, 0.4, 0.7]))
    else:
        assert chosen == 0.5


def test_a_rare_criterion_is_found_as_often_as_it_is_there() -> None:
    """Which of the posts are its few positives is chance, and changes nothing; none is found nowhere."""
    generator = np.random.default_rng(0)
    probabilities = generator.random((40, 3), dtype=np.float32)
    truth = np.zeros((40, 3), dtype=bool)
    truth[:20, 0] = True
    truth[:4, 1] = True
    chosen = tune(probabilities, truth)
    assert chosen[0] == np.float32(best_threshold(probabilities[:, 0], truth[:, 0]))
    assert (probabilities >= chosen).sum(axis=0).tolist()[1:] == [4, 0]
    assert (tune(probabilities, truth[::-1]) == chosen)[1:].all()


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.9, 1.0]), min_size=1, max_size=12), st.data())
def test_a_share_is_reached_and_exceeded_by_equals_alone(found: list[float], data: st.DataObject) -> None:
    """Counts of what reaches the threshold, and of what is above it."""
    positives = data.draw(st.integers(0, len(found)))
    probabilities = np.array(found, dtype=np.float32)
    threshold = share_threshold(probabilities, positives)
    reached = probabilities >= np.float32(threshold)
    assert reached.sum() >= positives
    if reached.sum() > positives:
        last = np.sort(probabilities)[::-1][max(positives - 1, 0)]
        assert (probabilities > last).sum() < max(positives, 1)
        assert probabilities[reached].min() == last


def test_intervals_hold_the_figure_and_shrink_with_the_posts() -> None:
    """95 % intervals of 30 and of 480 posts."""
    half = np.full(3, 0.5, np.float32)
    widths = []
    for posts in (30, 480):
        predictions = made(3, posts)
        decisions = decide(predictions, half, half)
        found = intervals(predictions, decisions, 400, seed=1)
        figures = flatten(compute(predictions, decisions))
        for name, (low, high) in found.items():
            assert low <= figures[name] <= high  # type: ignore[operator]
        assert "joint.f1_micro" in found
        for name, values in weighted_figures(predictions, decisions, np.ones((1, posts))).items():
            assert values[0] == pytest.approx(figures[name])
        widths.append(found["criteria.f1_micro"][1] - found["criteria.f1_micro"][0])
        assert found == intervals(predictions, decisions, 400, seed=1)
    assert widths[1] < widths[0] / 2
    assert intervals(predictions, decisions, 0, seed=1) == {}


def test_a_figure_that_a_trivial_predictor_reaches_is_doubtful() -> None:
    """All criteria of all posts with all sentences as evidence: no figure is above its baseline. The truth
    itself is above all of them."""
    predictions = made(3, 40)
    all_said = Decisions(np.ones_like(predictions.criteria_true), np.ones_like(predictions.sentence_true))
    truth = Decisions(predictions.criteria_true, predictions.sentence_true)
    doubted = [line for line in told(predictions, all_said) if "trivial" in line]
    assert len(doubted) == len(BASELINES_OF)
    assert not any("trivial" in line for line in told(predictions, truth))
    bare = replace(predictions, sentence_true=np.zeros_like(predictions.sentence_true))
    assert any("no sentence" in line for line in told(bare, truth))


def test_the_middle_95_percent_are_those() -> None:
    """Of 1,001 values in order the 26th and the 976th."""
    assert interval(np.arange(1001.0)) == (25.0, 975.0)


def test_rare_criteria_are_told() -> None:
    """Nine positive posts are few, ten are not."""
    predictions = made(3, 40)
    truth = np.zeros_like(predictions.criteria_true)
    truth[:9, 0] = truth[:10, 1] = truth[:1, 2] = True
    rare = replace(predictions, criteria_true=truth)
    found = [line for line in told(rare, decide(rare, *[np.full(3, 0.5)] * 2)) if "positive post" in line]
    assert found == [
        f"{CRITERIA[0]}: only 9 positive posts in this split",
        f"{CRITERIA[2]}: only 1 positive post in this split",
    ]


def test_thresholds_of_evidence_are_tuned_on_posts_that_meet_the_criterion() -> None:
    """A third of the evidence scores less than all sentences of other posts, which are none whatever they
    score: the threshold is below it all the same."""
    scores = np.repeat([0.3, 0.1, 0.2], [20, 10, 200]).astype(np.float32)[:, None]
    truth = np.arange(230)[:, None] < 30
    found = Predictions(
        criteria=("A",),
        post_ids=tuple(map(str, range(230))),
        criteria_true=truth,
        criteria_prob=np.where(truth, 0.9, 0.1).astype(np.float32),
        sentence_post=np.arange(230),
        sentence_spans=np.tile([0, 10], (230, 1)),
        sentence_true=truth,
        sentence_prob=scores,
        evidence_true=tuple(((0, 0, 10),) if met else () for met in truth[:, 0]),
        words=((),) * 230,
    )
    decisions = decide(found, *tune_all(found))
    assert decisions.sentences is not None
    assert (decisions.sentences == truth).all()


def test_an_epoch_logs_averages_each_criterion_s_f1_and_the_study_s_metric() -> None:
    """The rest stands in the trial's validation report."""
    flat = {
        "criteria.f1_macro": 0.1,
        "criteria.per_criterion.A.f1": 0.2,
        "criteria.per_criterion.A.support": 3.0,
        "criteria.per_criterion.B.recall": 0.4,
        "evidence.per_criterion.A.sentence_f1": 0.5,
    }
    assert curves(flat, "joint.f1_micro").keys() == flat.keys() - {
        "criteria.per_criterion.A.support",
        "criteria.per_criterion.B.recall",
    }
    assert "criteria.per_criterion.B.recall" in curves(flat, "criteria.per_criterion.B.recall")


def test_a_threshold_between_neighbouring_numbers_is_the_upper_one() -> None:
    """Their middle rounds to the lower, which it must not let through."""
    for upper in (0.99999994, 1.4e-45):
        pair = np.array([upper, np.nextafter(np.float32(upper), np.float32(0))], dtype=np.float32)
        assert (pair >= best_threshold(pair, np.array([True, False]))).tolist() == [True, False]
