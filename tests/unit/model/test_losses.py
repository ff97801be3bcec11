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


def test_asymmetric_loss_is_that_of_its_paper() -> None:
    """Focused apart, and a negative under the margin costs nothing (Ridnik et al., 2021)."""
    p = torch.sigmoid(LOGITS)
    settings = {"asymmetric_gamma_positive": 1.0, "asymmetric_gamma_negative": 3.0, "asymmetric_margin": 0.2}
    config = CriteriaAgentConfig.model_validate({"loss": "asymmetric", **settings})
    shifted = (p - 0.2).clamp(min=0)
    expected = -TARGETS * (1 - p) * p.log() - (1 - TARGETS) * shifted**3 * (1 - shifted).log()
    found = element_loss(LOGITS, TARGETS, config, None)
    assert torch.allclose(found, expected, atol=1e-6)
    assert found[0, 0] == 0.0  # a negative of probability 0.12
    plain = {"asymmetric_gamma_positive": 0.0, "asymmetric_gamma_negative": 0.0, "asymmetric_margin": 0.0}
    config = CriteriaAgentConfig.model_validate({"loss": "asymmetric", **plain})
    entropy = functional.binary_cross_entropy_with_logits(LOGITS, TARGETS, reduction="none")
    assert torch.allclose(element_loss(LOGITS, TARGETS, config, None), entropy, atol=1e-6)


def test_a_negative_that_is_wrong_for_sure_still_pulls() -> None:
    """Of asymmetric loss with and without a margin: the surer, the more."""
    for margin, least in ((0.0, 0.99), (0.05, 1e-8)):
        settings = {"loss": "asymmetric", "asymmetric_gamma_negative": 0.0, "asymmetric_margin": margin}
        logits = torch.tensor([[20.0, 60.0]], dtype=torch.float64, requires_grad=True)
        config = CriteriaAgentConfig.model_validate(settings)
        found = element_loss(logits, torch.zeros(1, 2, dtype=torch.float64), config, None)
        found.sum().backward()
        assert logits.grad is not None
        assert logits.grad[0, 0] > least
        if not margin:
            assert torch.allclose(found, logits.detach())


@pytest.mark.parametrize("loss", ["bce", "weighted_bce", "focal", "asymmetric", "hybrid"])
def test_extreme_logits_have_finite_losses_and_gradients(loss: str) -> None:
    """At logits of 200 on the wrong and on the right side, smoothed or not."""
    for smoothing in (0.0, 0.1):
        logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
        bent = {"focal_gamma": 0.5, "asymmetric_gamma_positive": 0.5, "asymmetric_gamma_negative": 0.5}
        config = CriteriaAgentConfig.model_validate({"loss": loss, "label_smoothing": smoothing, **bent})
        found = element_loss(logits, TARGETS, config, torch.tensor([2.0, 2.0]))
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_hybrid_mixes_focal_and_weighted() -> None:
    """By the share that is configured."""
    weights = torch.tensor([2.0, 5.0])
    focal, weighted, mixed = (
        element_loss(LOGITS, TARGETS, CriteriaAgentConfig.model_validate(settings), weights)
        for settings in (
            {"loss": "focal"},
            {"loss": "weighted_bce"},
            {"loss": "hybrid", "hybrid_focal_share": 0.3},
        )
    )
    assert torch.allclose(mixed, 0.3 * focal + 0.7 * weighted)


def test_label_smoothing_takes_a_share_as_undecided() -> None:
    """Against torch's cross-entropy with label_smoothing over two classes; least at the smoothed target."""
    config = CriteriaAgentConfig(loss="bce", label_smoothing=0.2)
    found = element_loss(LOGITS, TARGETS, config, None)
    two_classes = torch.stack([torch.zeros_like(LOGITS), LOGITS], dim=-1).reshape(-1, 2)
    reference = functional.cross_entropy(
        two_classes, TARGETS.long().reshape(-1), label_smoothing=0.2, reduction="none"
    )
    assert torch.allclose(found.reshape(-1), reference, atol=1e-6)
    at = torch.logit(torch.tensor([[0.85], [0.9], [0.95]]))
    losses = element_loss(at, torch.ones(3, 1), config, None)
    assert losses.argmin() == 1


def test_positive_weights_balance_and_stop_at_the_ceiling() -> None:
    """9:1 weighs 9; never below 1, never above the ceiling, also without a positive."""
    found = positive_weights(torch.tensor([10, 80, 1, 0]), 100, 20.0)
    assert found.tolist() == [9.0, 1.0, 20.0, 20.0]
