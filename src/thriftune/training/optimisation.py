"""The optimizer and its schedule, and their state as named tensors and JSON (no pickle)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from lion_pytorch import Lion
from pydantic import JsonValue
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from thriftune.config import Choices, Parameters, TrainingConfig
from thriftune.errors import DamageError
from thriftune.model.layers import ENCODER, encoder_layer, layer_count

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT

OPTIMIZER_SLOTS = {"adamw": 2, "adam": 2, "radam": 2, "adafactor": 1, "lion": 1, "sgd": 1}
"""How many values an optimizer keeps of each weight, at most (Adafactor: of a matrix only rows and columns).
A resumable checkpoint has them beside the weights."""

STEP = "step"
"""The slot in which torch's optimizers count a parameter's steps (float32, on the CPU)."""

Tensors = Mapping[str, torch.Tensor]
Group = dict[str, JsonValue]
"""Settings of a parameter group, without its parameters."""
_NO_DECAY = ("bias", "norm")
"""Parameters whose name, or whose module's kind (LayerNorm, RMSNorm), holds one of these are not decayed
(Devlin et al., 2019)."""


def build_optimizer(agent: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer over the trainable parameters.

    Groups are the heads and each depth of the encoder, with weight decay and without.

    Args:
        agent: Whose parameters that require a gradient are trained.
        config: The optimizer's name, rates and decay.
    """
    layers = layer_count(name for name, _ in agent.named_parameters())
    head_rate = config.head_learning_rate or config.learning_rate
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    kinds = {
        f"{prefix}.{name}": type(module).__name__
        for prefix, module in agent.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    for name, parameter in agent.named_parameters():
        if parameter.requires_grad:
            described = f"{name} {kinds.get(name, '')}".lower()
            decayed = not any(part in described for part in _NO_DECAY)
            of_encoder, rate = name.startswith(ENCODER), head_rate
            if of_encoder:
                rate = config.learning_rate * config.layer_decay ** _depth(name, layers)
            groups.setdefault((of_encoder, rate, decayed), []).append(parameter)
    return _optimizer(
        config,
        [
            {"params": parameters, "lr": rate, "weight_decay": config.weight_decay if decayed else 0.0}
            for (_, rate, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
    )


def _depth(name: str, layers: int) -> int:
    """Return 0 for the encoder's last layer and what follows it, 1 for the layer below, and so on.

    The embeddings have the greatest depth.
    """
    layer = encoder_layer(name)
    if layer is not None:
        return layers - 1 - layer
    return layers if "embed" in name.lower() else 0


def _optimizer(config: TrainingConfig, groups: ParamsT) -> torch.optim.Optimizer:
    rate = config.learning_rate
    match config.optimizer:
        case "adam":
            return torch.optim.Adam(groups, lr=rate)
        case "radam":
            return torch.optim.RAdam(groups, lr=rate, decoupled_weight_decay=True)
        case "adafactor":
            return torch.optim.Adafactor(groups, lr=rate)
        case "lion":
            lion: torch.optim.Optimizer = Lion(groups, lr=rate)
            return lion
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=rate)


def rate_factor(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Return the share of the peak rate at an optimizer step: linear warm-up, then the schedule.

    These are transformers' of the same names; one_cycle is torch's OneCycleLR (Smith and Topin, 2017).

    Args:
        step: Number of the step, from 0.
        total_steps: Steps of the whole training.
        config: The schedule's name, warm-up and power.
    """
    if config.schedule == "one_cycle":
        return _one_cycle(step, total_steps, total_steps * config.warmup_share)
    warmup_steps = math.ceil(total_steps * config.warmup_share)
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    match config.schedule:
        case "cosine":
            return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
        case "polynomial":
            return float((1.0 - progress) ** config.schedule_power)
        case "constant":
            return 1.0
    return 1.0 - progress


def _one_cycle(step: int, total_steps: int, warmup_steps: float) -> float:
    """Rise from 1/25 to 1 at the end of the warm-up, which may be between steps, then fall to 1/250,000."""
    first, last = 1 / 25, 1 / 25e4
    peak = warmup_steps - 1
    if step <= peak and peak > 0:
        return _half_cosine(first, 1.0, step / peak)
    return _half_cosine(1.0, last, min(1.0, (step - peak) / max(1e-9, total_steps - 1 - peak)))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1.0 + math.cos(math.pi * share))


def build_schedule(optimizer: torch.optim.Optimizer, total_steps: int, config: TrainingConfig) -> LambdaLR:
    """Return the schedule over all optimizer steps.

    Args:
        optimizer: Whose rates it sets.
        total_steps: Steps of the whole training.
        config: The schedule's name, warm-up and power.
    """
    return LambdaLR(optimizer, lambda step: rate_factor(step, total_steps, config))


def build_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps small gradients in float16's range (Micikevicius et al., 2018).

    Args:
        config: The precision; with others than float16 the scaler does nothing.
        device: The agent's.
    """
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")


def flatten_optimizer(
    optimizer: torch.optim.Optimizer, agent: nn.Module
) -> tuple[dict[str, torch.Tensor], list[Group]]:
    """Return the optimizer's state as live tensors, by `<parameter>/<slot>`, and the groups' settings.

    A step count that a whole group shares is one of its settings: one number, not a tensor a parameter.

    Args:
        optimizer: The optimizer.
        agent: Whose parameters it trains.
    """
    names: dict[torch.Tensor, str] = {value: name for name, value in agent.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    scalars: list[Group] = []
    for group in optimizer.param_groups:
        slots = {p: optimizer.state[p] for p in group["params"] if optimizer.state.get(p)}
        steps = {float(state.get(STEP, -1)) for state in slots.values()}
        shared = len(steps) == 1 and steps != {-1.0}
        scalars.append({key: value for key, value in group.items() if key != "params"})
        if shared:
            scalars[-1][STEP] = steps.pop()
        for parameter, state in slots.items():
            for slot, value in state.items():
                if not (shared and slot == STEP):
                    tensors[f"{names[parameter]}/{slot}"] = torch.as_tensor(value).detach()
    return tensors, scalars


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    agent: nn.Module,
    tensors: Tensors,
    scalars: Sequence[Group],
) -> None:
    """Put a flattened state back.

    Args:
        optimizer: A new one, of the same configuration.
        agent: Whose parameters it trains.
        tensors: State by `<parameter>/<slot>`.
        scalars: The groups' settings.

    Raises:
        DamageError: The state does not fit the agent's parameters.
    """
    parameters = dict(agent.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        if name not in parameters:
            raise DamageError(f"the optimizer state names {name!r}, which the model lacks")
        target = parameters[name]
        optimizer.state[target][slot] = value.to(value.device if slot == STEP else target.device, copy=True)
    if len(scalars) != len(optimizer.param_groups):
        raise DamageError(
            f"the optimizer state has {len(scalars)} groups, the model {len(optimizer.param_groups)}"
        )
    for group, stored in zip(optimizer.param_groups, scalars, strict=True):
        group.update({key: _tupled(value) for key, value in stored.items() if key != STEP})
        if STEP in stored:
            for parameter in group["params"]:
                if optimizer.state.get(parameter):
                    optimizer.state[parameter][STEP] = torch.tensor(stored[STEP], dtype=torch.float32)


def _tupled(value: JsonValue) -> JsonValue | tuple[JsonValue, ...]:
    return tuple(value) if isinstance(value, list) else value


def optimizer_slots(settings: Parameters) -> int:
    """Return how many times a model's bytes the optimizer keeps: the most of those that may be searched.

    Args:
        settings: The study's parameters.
    """
    names = configured_values(settings, "training.optimizer", settings.training.optimizer)
    # An unknown name is refused with the search space.
    return max(OPTIMIZER_SLOTS.get(name, 0) for name in names)


def configured_values(settings: Parameters, key: str, configured: str) -> set[str]:
    """Return the values that an option has or may have.

    Args:
        settings: The study's parameters.
        key: Dotted key of the option.
        configured: The configured value.
    """
    searched = settings.search.space.get(key)
    return {configured, *map(str, searched.choices if isinstance(searched, Choices) else ())}
