"""A study in figures: what mattered, and what fits on a terminal."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from thriftune.reports.summary import FEWEST_FOR_IMPORTANCE, importances, listed
from thriftune.reports.terminal import print_list, print_study

pytestmark = pytest.mark.unit
HEADS = CategoricalDistribution(["linear", "mlp"])
SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(0.0, 1.0),
    "head": HEADS,
    "width": FloatDistribution(0.0, 1.0),
    "one": CategoricalDistribution(["only"]),
}


def trial(number: int, state: TrialState = TrialState.COMPLETE, value: float | None = None) -> FrozenTrial:
    """Its value is its rate; width is searched where the head is mlp, one never varies."""
    drawn = random.Random(number)
    params: dict[str, Any] = {"rate": drawn.random(), "head": drawn.choice(["linear", "mlp"]), "one": "only"}
    if params["head"] == "mlp":
        params["width"] = drawn.random()
    return create_trial(
        state=state,
        value=params["rate"] if value is None else value,
        params=params,
        distributions={key: SPACE[key] for key in params},
    )


def test_importances_under_conditions() -> None:
    """The key that makes the value is first, one that never varied has no share, the shares add up to 1."""
    found = importances([trial(number) for number in range(300)])
    assert found is not None
    assert next(iter(found)) == "rate"
    assert found["rate"] > 0.8
    assert found["one"] == 0.0
    assert found.keys() == SPACE.keys()
    assert sum(found.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(number) for number in range(FEWEST_FOR_IMPORTANCE - 1)],
        [trial(number, TrialState.PRUNED) for number in range(100)],
        [trial(number, value=0.5) for number in range(100)],
        [create_trial(value=float(number)) for number in range(100)],
    ],
    ids=["none", "few", "pruned", "equal", "no space"],
)
def test_importances_that_nobody_can_tell(trials: list[FrozenTrial]) -> None:
    """None, and not the same share for each."""
    assert importances(trials) is None


def study(trials: int) -> dict[str, Any]:
    """A summary of so many trials; every seventh was pruned, every tenth failed, the last one runs."""
    rows = []
    for number in range(trials):
        state = "fail" if number % 10 == 3 else "pruned" if number % 7 == 0 else "complete"
        rows.append(
            {
                "trial": number,
                "state": "running" if number == trials - 1 else state,
                "value": None if state == "fail" else (number * 7919 % trials) / trials,
                "epochs": 3,
                "seconds": 12_345.6,
                "attempt": 1,
                "reason": None if state == "complete" else "pruned after epoch 3",
                "overrides": {"training.learning_rate": 0.00123456, "model.criteria_agent.loss": "focal"},
                "bytes": 1_234_567,
            }
        )
    complete = [row for row in rows if row["state"] == "complete"]
    best = max(complete, key=lambda row: row["value"], default=None)
    states = {s: sum(row["state"] == s for row in rows) for s in ("complete", "pruned", "fail", "running")}
    return {
        "name": "a-study-with-a-rather-long-name", "id": "x-00000000", "metric": "joint.f1_micro",
        "trials_over": trials - 1, "trials_in_all": trials, "ended": None, "states": states,
        "best": best, "importances": {"training.learning_rate": 1.0},
        "seconds": 12e6, "bytes": 10**9, "budget_bytes": 10**10, "evaluated": True, "trials": rows,
    }  # fmt: skip


def shown(found: dict[str, Any], width: int, *, every: bool = False) -> list[str]:
    """The lines of list and show on a terminal of so many columns."""
    console = Console(file=io.StringIO(), width=width)
    print_list([listed(found)], console)
    print_study(found, console, every=every)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_a_thousand_trials_fit_on_a_screen(width: int) -> None:
    """No line is wider than the terminal, no trial takes two; head, best ten and last ten in 50 lines."""
    found = study(1000)
    lines = shown(found, width)
    assert max(map(len, lines)) <= width
    assert len(lines) < 50
    text = "\n".join(lines)
    assert "999 of 1000 trials have ended" in text
    assert f"of trial {found['best']['trial']}, which sets" in text
    table = [line.split() for line in lines[next(i for i, li in enumerate(lines) if "the best 10" in li) :]]
    numbers = [int(words[0]) for words in table if words and words[0].isdigit()]
    complete = [row for row in found["trials"] if row["state"] == "complete"]
    order = sorted(complete, key=lambda row: (-row["value"], row["trial"]))
    assert numbers == [row["trial"] for row in order[:10]] + list(range(990, 1000))
    everything = shown(found, width, every=True)
    assert sum(line.split()[:1] == [str(number)] for number in range(1000) for line in everything) >= 1000
    assert max(map(len, everything)) <= width


def test_the_name_is_never_cut() -> None:
    """It goes on in the next line: the commands take the whole of it."""
    found = study(5) | {"name": "n" * 60}
    lines = shown(found, 80)
    row = lines[1 : next(i for i, line in enumerate(lines) if line.startswith("study "))]
    assert "".join(line.split()[0] for line in row) == "n" * 60


def test_a_study_without_a_complete_trial() -> None:
    """No best, no importances, a row all the same."""
    found = study(1) | {"best": None, "importances": None}
    text = "\n".join(shown(found, 80))
    assert "best" not in text.partition("study")[2]
    assert "running" in text
    killed = "\n".join(shown(found | {"at_work": False}, 80))
    assert "1 interrupted" in killed
    assert "running" not in killed
