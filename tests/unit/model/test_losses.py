"""Losses against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from thriftune.config import CriteriaAgentConfig
from thriftune.model.losses import element_loss, positive_weights

pytestmark = pytest.mark.unit
LOGITS = torch.tensor([[-2.0, 0.5], [3.0, -0.1]])
TARGETS = torch.tensor([[0.0, 1.0], [1.0, 0.0]])


def test_binary_cross_entropy_plain_and_weighted() -> None:
    """-log p of the truth; positives times their weight."""
    p = torch.sigmoid(LOGITS)
    plain = -(TARGETS * p.log() + (1 - TARGETS) * (1 - p).log())
    config = CriteriaAgentConfig(loss="bce")
    assert torch.allclose(element_loss(LOGITS, TARGETS, config, None), plain)
    weights = torch.tensor([2.0, 5.0])
    weighted = -(weights * TARGETS * p.log() + (1 - TARGETS) * (1 - p).log())
    config = CriteriaAgentConfig(loss="weighted_bce")
    assert torch.allclose(element_loss(LOGITS, TARGETS, config, weights), weighted)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_loss_is_that_of_its_paper(gamma: float) -> None:
    """-(1 - p_t)^gamma log p_t; with gamma 0 plain cross-entropy."""
    p = torch.sigmoid(LOGITS)
    p_t = TARGETS * p + (1 - TARGETS) * (1 - p)
    config = CriteriaAgentConfig(loss="focal", focal_gamma=gamma)
    found = element_loss(LOGITS, TARGETS, config, None)
    assert torch.allclose(found, -((1 - p_t) ** gamma) * p_t.log(), atol=1e-6)
    if gamma == 0:
        assert torch.allclose(
            found, functional.binary_cross_entropy_with_logits(LOGITS, TARGETS, reduction="none")
        )


def test_positive_weights_balance_and_stop_at_the_ceiling() -> None:
    """9:1 weighs 9; never below 1, never above the ceiling, also without a positive."""
    found = positive_weights(torch.tensor([10, 80, 1, 0]), 100, 20.0)
    assert found.tolist() == [9.0, 1.0, 20.0, 20.0]
