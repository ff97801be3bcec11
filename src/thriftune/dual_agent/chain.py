"""Linear-chain CRFs (Lafferty et al., 2001) over the labels outside, begin and inside, many at once.

There is one chain per post and criterion. In all methods `emissions` is `[posts, tokens, criteria, 3]`
float32, padded on the right, and `there` is `[posts, tokens]` bool: true for a post's own tokens, false for
padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

OUTSIDE, BEGIN, INSIDE = 0, 1, 2
LABELS = 3
FORBIDDEN = -1e4
"""Score of a forbidden transition: in effect minus infinity, but safe to compute with."""


class LinearChain(nn.Module):
    """Scores of transitions between labels.

    An inside label never follows an outside one and never comes first. The other transitions are learned, or
    all score 0.

    Args:
        criteria: Rows of parameters; 1 to share them among all criteria.
        learned: Whether transitions are learned.
    """

    forbidden: Tensor
    forbidden_first: Tensor

    def __init__(self, criteria: int, *, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        forbidden, first = torch.zeros(LABELS, LABELS), torch.zeros(LABELS)
        forbidden[OUTSIDE, INSIDE] = first[INSIDE] = FORBIDDEN
        self.register_buffer("forbidden", forbidden, persistent=False)
        self.register_buffer("forbidden_first", first, persistent=False)
        if learned:
            self.first = nn.Parameter(torch.zeros(criteria, LABELS))
            self.last = nn.Parameter(torch.zeros(criteria, LABELS))
            self.follows = nn.Parameter(torch.zeros(criteria, LABELS, LABELS))

    def log_likelihood(self, emissions: Tensor, there: Tensor, labels: Tensor) -> Tensor:
        """Return the log-likelihood of given labels.

        Args:
            emissions: `[posts, tokens, criteria, 3]` float32.
            there: `[posts, tokens]` bool, false for padding.
            labels: `[posts, tokens, criteria]` int64, without a forbidden transition; OUTSIDE for padding.

        Returns:
            `[posts, criteria]` float32; meaningless for a post without tokens.
        """
        first, follows, last = self.scores()
        chosen = emissions.gather(-1, labels[..., None])[..., 0]
        score = (chosen * there[:, :, None]).sum(dim=1)
        criterion = torch.arange(labels.shape[-1], device=labels.device) % len(first)
        score = score + first[criterion, labels[:, 0]]
        pairs = follows[criterion, labels[:, :-1], labels[:, 1:]]
        score = score + (pairs * there[:, 1:, None]).sum(dim=1)
        end = (there.sum(dim=1) - 1).clamp(min=0)
        ending = labels[torch.arange(len(labels), device=labels.device), end]
        return score + last[criterion, ending] - self.log_partition(emissions, there)

    def log_partition(self, emissions: Tensor, there: Tensor) -> Tensor:
        """Return the log of the summed scores of all label sequences (forward algorithm: Rabiner, 1989).

        Args:
            emissions: `[posts, tokens, criteria, 3]` float32.
            there: `[posts, tokens]` bool, false for padding.

        Returns:
            `[posts, criteria]` float32.
        """
        first, follows, last = self.scores()
        reached = first + emissions[:, 0]
        for token in range(1, emissions.shape[1]):
            further = torch.logsumexp(reached[..., :, None] + follows, dim=-2) + emissions[:, token]
            reached = torch.where(there[:, token, None, None], further, reached)
        return torch.logsumexp(reached + last, dim=-1)

    def marginals(self, emissions: Tensor, there: Tensor) -> Tensor:
        """Return the probability of each label of each token.

        Args:
            emissions: `[posts, tokens, criteria, 3]` float32.
            there: `[posts, tokens]` bool, false for padding.

        Returns:
            `[posts, tokens, criteria, 3]` float32. If transitions are not learned, the softmax of each token
            alone.
        """
        if not self.learned:
            return torch.softmax(emissions, dim=-1)
        # The marginals are the gradient of log_partition with respect to the emissions.
        with torch.enable_grad():
            free = emissions.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.log_partition(free, there).sum(), free)
        return found

    @torch.no_grad()
    def likeliest(self, emissions: Tensor, there: Tensor) -> Tensor:
        """Return the label sequence with the highest score (Viterbi, 1967).

        Args:
            emissions: `[posts, tokens, criteria, 3]` float32.
            there: `[posts, tokens]` bool, false for padding.

        Returns:
            `[posts, tokens, criteria]` int64; OUTSIDE for padding.
        """
        first, follows, last = self.scores()
        if not self.learned:
            emissions = torch.log_softmax(emissions, dim=-1)
        reached = first + emissions[:, 0]
        came_from = []
        for token in range(1, emissions.shape[1]):
            best, source = (reached[..., :, None] + follows).max(dim=-2)
            alive = there[:, token, None, None]
            stay = torch.arange(LABELS, device=source.device).expand_as(source)
            came_from.append(torch.where(alive, source, stay))
            reached = torch.where(alive, best + emissions[:, token], reached)
        label = (reached + last).argmax(dim=-1)
        row = [label]
        for source in reversed(came_from):
            label = source.gather(-1, label[..., None])[..., 0]
            row.append(label)
        labels = torch.stack(row[::-1], dim=1)
        return labels.masked_fill(~there[:, :, None], OUTSIDE)

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return first `[criteria, 3]`, follows `[criteria, 3, 3]`, last `[criteria, 3]`; or 1 for all."""
        if self.learned:
            return self.first + self.forbidden_first, self.follows + self.forbidden, self.last
        nothing = torch.zeros_like(self.forbidden_first)[None]
        return self.forbidden_first[None], self.forbidden[None], nothing
