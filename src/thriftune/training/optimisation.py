"""The optimizer, its schedule, and both as named tensors plus JSON (no pickle)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from thriftune.config import TrainingConfig
from thriftune.errors import DamageError

STEP = "step"
"""The slot in which torch's optimizers count a parameter's steps (float32, on the CPU)."""
_NO_DECAY = ("bias", "norm")
"""Parameters whose name holds one of these are not decayed (Devlin et al., 2019)."""


def build_optimizer(agent: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, in groups of encoder/heads x decayed/not."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in agent.named_parameters():
        if parameter.requires_grad:
            decayed = not any(part in name.lower() for part in _NO_DECAY)
            groups.setdefault((name.startswith("encoder."), decayed), []).append(parameter)
    head_rate = config.head_learning_rate or config.learning_rate
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": config.learning_rate if of_encoder else head_rate,
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (of_encoder, decayed), parameters in sorted(groups.items())
        ]
    )


def rate_factor(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Share of the peak rate at an optimizer step (0-based): linear warm-up, then linear or half
    cosine decay to 0, as transformers' schedules of the same names."""
    warmup_steps = math.ceil(total_steps * config.warmup_share)
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if config.schedule == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    return max(0.0, 1.0 - progress)


def build_schedule(optimizer: torch.optim.Optimizer, total_steps: int, config: TrainingConfig) -> LambdaLR:
    """The schedule over all optimizer steps of the trial."""
    return LambdaLR(optimizer, lambda step: rate_factor(step, total_steps, config))


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
