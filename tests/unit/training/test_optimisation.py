"""Schedules against transformers', optimizer state there and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
)

from thriftune.config import TrainingConfig
from thriftune.errors import DamageError
from thriftune.training.optimisation import (
    OPTIMIZER_SLOTS,
    build_optimizer,
    build_schedule,
    flatten_optimizer,
    rate_factor,
    restore_optimizer,
)

pytestmark = pytest.mark.unit


class Toy(nn.Module):
    """An encoder and a head, named as the dual agent's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.criteria_head = nn.Linear(3, 2)


REFERENCES = {
    "linear": lambda optimizer: get_linear_schedule_with_warmup(optimizer, 5, 50),
    "cosine": lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 5, 50),
    "polynomial": lambda optimizer: get_polynomial_decay_schedule_with_warmup(optimizer, 5, 50, 0.0, 3.0),
    "constant": lambda optimizer: get_constant_schedule_with_warmup(optimizer, 5),
    "one_cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=50, pct_start=0.1, cycle_momentum=False
    ),
}


@pytest.mark.parametrize(("steps", "share"), [(7, 0.33), (7, 0.9), (33, 0.1), (10, 0.1), (40, 0.25)])
def test_one_cycle_peaks_between_two_steps_where_torch_does(steps: int, share: float) -> None:
    """A share that is no whole number of steps, and one that leaves no step behind it."""
    other = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = (
        torch.optim.lr_scheduler.OneCycleLR(
            other, max_lr=1.0, total_steps=steps, pct_start=share, cycle_momentum=False
        )
        if steps * share > 1
        else None
    )
    config = TrainingConfig.model_validate({"schedule": "one_cycle", "warmup_share": share})
    for step in range(steps):
        if reference is not None:
            assert rate_factor(step, steps, config) == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
            other.step()
            if step < steps - 1:
                reference.step()
    assert rate_factor(steps - 1, steps, config) == pytest.approx(1 / 25e4)


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_schedule_is_that_of_transformers_and_torch(kind: str) -> None:
    """Rates of every step of 50, 5 of them warm-up."""
    config = TrainingConfig.model_validate(
        {"schedule": kind, "schedule_power": 3.0, "warmup_share": 0.1, "learning_rate": 1.0}
    )
    ours, other = build_optimizer(Toy(), config), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(ours, 50, config)
    reference = REFERENCES[kind](other)
    for _ in range(49):  # torch's has no rate after the last step
        assert schedule.get_last_lr()[0] == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        ours.step()
        other.step()
        schedule.step()
        reference.step()


def test_groups_have_their_rates_and_decay() -> None:
    """Norms and biases are not decayed; heads may have a rate of their own."""
    config = TrainingConfig(learning_rate=1e-4, head_learning_rate=1e-2, weight_decay=0.1)
    agent = Toy()
    agent.evidence_head = nn.Sequential(nn.LayerNorm(3), nn.RMSNorm(3))
    optimizer = build_optimizer(agent, config)
    names = {id(value): name for name, value in agent.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found["encoder.0.weight"] == (1e-4, 0.1)
    assert found["encoder.0.bias"] == (1e-4, 0.0)
    assert found["encoder.1.weight"] == (1e-4, 0.0)
    assert found["criteria_head.weight"] == (1e-2, 0.1)
    assert found["evidence_head.0.weight"] == found["evidence_head.1.weight"] == (1e-2, 0.0)


def test_each_layer_learns_at_a_share_of_the_rate_above() -> None:
    """The last layer and the heads at the whole rate, embeddings at the least; a rate of the heads stands."""
    agent = nn.Module()
    agent.encoder = nn.ModuleDict(
        {"embeddings": nn.Linear(2, 2), "layer": nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])}
    )
    agent.criteria_head = nn.Linear(2, 2)
    config = TrainingConfig(learning_rate=1.0, head_learning_rate=3.0, layer_decay=0.5)
    names = {id(value): name for name, value in agent.named_parameters()}
    found = {
        names[id(parameter)].rpartition(".")[0]: group["lr"]
        for group in build_optimizer(agent, config).param_groups
        for parameter in group["params"]
    }
    assert found == {
        "encoder.embeddings": 0.125, "encoder.layer.0": 0.25, "encoder.layer.1": 0.5, "encoder.layer.2": 1.0,
        "criteria_head": 3.0,
    }  # fmt: skip


def test_radam_decays_apart_from_the_gradient() -> None:
    """As AdamW does (Loshchilov and Hutter, 2019): with no gradient a weight shrinks by rate x decay."""
    config = TrainingConfig(optimizer="radam", learning_rate=0.1, weight_decay=0.5)
    agent = Toy()
    before = agent.criteria_head.weight.detach().clone()
    optimizer = build_optimizer(agent, config)
    for parameter in agent.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(agent.criteria_head.weight, before * 0.95)


def test_lion_steps_are_those_of_its_paper() -> None:
    """The sign of an interpolation, decoupled decay (Chen et al., 2023, algorithm 2)."""
    agent = Toy()
    config = TrainingConfig(optimizer="lion", learning_rate=0.1, weight_decay=0.2)
    optimizer = build_optimizer(agent, config)
    weight = agent.criteria_head.weight
    value, momentum = weight.detach().clone(), torch.zeros_like(weight)
    for _ in range(3):
        gradient = torch.randn_like(weight)
        weight.grad = gradient.clone()
        optimizer.step()
        value -= 0.1 * (torch.sign(0.9 * momentum + 0.1 * gradient) + 0.2 * value)
        momentum = 0.99 * momentum + 0.01 * gradient
        assert torch.allclose(weight, value, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam", "radam", "adafactor", "lion", "sgd"])
def test_the_state_comes_back_bit_for_bit(name: str) -> None:
    """After restoring, further steps are the same; what does not fit is refused; no more is kept of a weight
    than the forecast says."""
    config = TrainingConfig.model_validate({"optimizer": name, "learning_rate": 1e-2})
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
    weights = sum(value.numel() for value in first.parameters())
    steps = sum(key.endswith("/step") for key in tensors)
    assert 0 < sum(value.numel() for value in tensors.values()) - steps <= OPTIMIZER_SLOTS[name] * weights
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
