"""The optimizer, its schedule, and both as named tensors plus JSON (no pickle)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lion_pytorch import Lion
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from thriftune.config import Choices, Parameters, TrainingConfig
from thriftune.errors import DamageError
from thriftune.model.layers import ENCODER, encoder_layer, layer_count

MOMENTS = {"adamw": 2, "adam": 2, "radam": 2, "adafactor": 1, "lion": 1, "sgd": 1}
"""How many values an optimizer keeps of each weight, at most (adafactor: of matrices rows and columns alone);
a resume-capable checkpoint holds them beside the weights."""

STEP = "step"
"""The slot in which torch's optimizers count a parameter's steps (float32, on the CPU)."""
_NO_DECAY = ("bias", "norm")
"""Parameters whose name, or whose module's kind (LayerNorm, RMSNorm), holds one of these are not decayed
(Devlin et al., 2019)."""


def build_optimizer(agent: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters, in groups of heads or a depth of the encoder, decayed or
    not."""
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
            told = f"{name} {kinds.get(name, '')}".lower()
            decayed = not any(part in told for part in _NO_DECAY)
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
    """0 for the encoder's last layer and what comes after it, 1 for the layer below, `layers` for the
    embeddings."""
    layer = encoder_layer(name)
    if layer is not None:
        return layers - 1 - layer
    return layers if "embed" in name.lower() else 0


def _optimizer(config: TrainingConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
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
    """Share of the peak rate at an optimizer step (0-based): linear warm-up, then the schedule, as
    transformers' of the same names and, for one_cycle, torch's OneCycleLR."""
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
    """From 1/25 up to 1 at the end of the warm-up, which may come between two steps, then down to 1/250,000
    at the last step of all."""
    first, last = 1 / 25, 1 / 25e4
    peak = warmup_steps - 1
    if step <= peak and peak > 0:
        return _half_cosine(first, 1.0, step / peak)
    return _half_cosine(1.0, last, min(1.0, (step - peak) / max(1e-9, total_steps - 1 - peak)))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1.0 + math.cos(math.pi * share))


def build_schedule(optimizer: torch.optim.Optimizer, total_steps: int, config: TrainingConfig) -> LambdaLR:
    """The schedule over all optimizer steps of the trial."""
    return LambdaLR(optimizer, lambda step: rate_factor(step, total_steps, config))


def build_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small gradients in float16's range (Micikevicius et al., 2018); idle in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")


def flatten_optimizer(
    optimizer: torch.optim.Optimizer, agent: nn.Module
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Optimizer state by `<parameter>/<slot>`, the live tensors, and the groups' scalars.

    A step count that a whole group shares stands among its scalars: one number, not a tensor a parameter.
    """
    names: dict[torch.Tensor, str] = {value: name for name, value in agent.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    scalars: list[dict[str, Any]] = []
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
    tensors: Mapping[str, torch.Tensor],
    scalars: list[dict[str, Any]],
) -> None:
    """Put a flattened state back; DamageError where it does not fit the agent's parameters."""
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
                    optimizer.state[parameter][STEP] = torch.tensor(float(stored[STEP]))


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def moments(settings: Parameters) -> int:
    """How many times a model's bytes the optimizer keeps, at most: the largest that may be searched."""
    names = configured_values(settings, "training.optimizer", settings.training.optimizer)
    # A name that there is not is refused with the search space.
    return max(MOMENTS.get(name, 0) for name in names)


def configured_values(settings: Parameters, key: str, configured: str) -> set[str]:
    """What a named option is, or may be where it is searched."""
    searched = settings.search.space.get(key)
    return {configured, *map(str, searched.choices if isinstance(searched, Choices) else ())}
