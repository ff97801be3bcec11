"""Schedules against transformers', optimizer state there and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from thriftune.config import TrainingConfig
from thriftune.errors import DamageError
from thriftune.training.optimisation import (
    build_optimizer,
    build_schedule,
    flatten_optimizer,
    restore_optimizer,
)

pytestmark = pytest.mark.unit


class Toy(nn.Module):
    """An encoder and a head, named as the dual agent's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.criteria_head = nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)],
)
def test_the_schedule_is_that_of_transformers(kind: str, theirs: object) -> None:
    """Rates of every step of 50, 5 of them warm-up."""
    config = TrainingConfig.model_validate({"schedule": kind, "warmup_share": 0.1, "learning_rate": 1.0})
    ours, other = build_optimizer(Toy(), config), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(ours, 50, config)
    reference = theirs(other, 5, 50)  # type: ignore[operator]
    for _ in range(50):
        assert schedule.get_last_lr()[0] == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        ours.step()
        other.step()
        schedule.step()
        reference.step()


def test_groups_have_their_rates_and_decay() -> None:
    """Norms and biases are not decayed; heads may have a rate of their own."""
    config = TrainingConfig(learning_rate=1e-4, head_learning_rate=1e-2, weight_decay=0.1)
    agent = Toy()
    optimizer = build_optimizer(agent, config)
    names = {id(value): name for name, value in agent.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found["encoder.0.weight"] == (1e-4, 0.1)
    assert found["encoder.0.bias"] == (1e-4, 0.0)
    assert found["criteria_head.weight"] == (1e-2, 0.1)


def test_the_state_comes_back_bit_for_bit() -> None:
    """After restoring, further steps are the same; what does not fit is refused."""
    config = TrainingConfig(learning_rate=1e-2)
    torch.manual_seed(0)
    first, second = Toy(), Toy()
    second.load_state_dict(first.state_dict())
    ours, theirs = build_optimizer(first, config), build_optimizer(second, config)

    def step(agent: Toy, optimizer: torch.optim.Optimizer) -> None:
        agent.criteria_head(agent.encoder(torch.ones(4, 3))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(first, ours)
    tensors, scalars = flatten_optimizer(ours, first)
    second.load_state_dict(first.state_dict())
    restore_optimizer(theirs, second, tensors, scalars)
    for _ in range(3):
        step(first, ours)
        step(second, theirs)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    with pytest.raises(DamageError, match="lacks"):
        restore_optimizer(theirs, second, {"other.weight/exp_avg": torch.zeros(1)}, scalars)
    with pytest.raises(DamageError, match="groups"):
        restore_optimizer(theirs, second, tensors, scalars[:1])


def test_a_step_count_is_one_number_where_a_group_shares_it() -> None:
    """Where one parameter was frozen for a while the counts differ, and each is stored; one that never had a
    gradient has no state and gets none."""
    agent = Toy()
    optimizer = build_optimizer(agent, TrainingConfig())
    agent.criteria_head(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()
    tensors, scalars = flatten_optimizer(optimizer, agent)
    assert not [name for name in tensors if name.endswith("/step")]
    assert [group.get("step") for group in scalars] == [1.0, 1.0, None, None]  # heads first
    agent.criteria_head(agent.encoder(torch.ones(4, 3))).square().sum().backward()
    optimizer.step()
    optimizer.state[agent.encoder[0].bias]["step"] = torch.tensor(7.0)
    tensors, scalars = flatten_optimizer(optimizer, agent)
    assert float(tensors["encoder.0.bias/step"]) == 7.0
    other = Toy()
    restored = build_optimizer(other, TrainingConfig())
    restore_optimizer(restored, other, tensors, scalars)
    steps = {name: float(restored.state[value]["step"]) for name, value in other.named_parameters()}
    assert steps.pop("encoder.0.bias") == 7.0
    assert steps == {
        "encoder.0.weight": 1.0, "encoder.1.weight": 1.0, "encoder.1.bias": 1.0,
        "criteria_head.weight": 2.0, "criteria_head.bias": 2.0,
    }  # fmt: skip
