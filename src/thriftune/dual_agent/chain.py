"""A linear chain over the labels outside, begin and inside (Lafferty et al., 2001), for many rows at once.

Emissions are [posts, tokens, criteria, 3]; which tokens there are is [posts, tokens] bool, true from the
left.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

OUTSIDE, BEGIN, INSIDE = 0, 1, 2
LABELS = 3
FORBIDDEN = -1e4
"""As good as minus infinity, without its arithmetic."""


class LinearChain(nn.Module):
    """What follows what. No inside follows an outside or stands first; the rest is learned, or all alike."""

    forbidden: Tensor
    forbidden_first: Tensor

    def __init__(self, criteria: int, *, learned: bool) -> None:
        """criteria: rows of parameters; 1 for the same for all."""
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
        """Of rows of labels [posts, tokens, criteria] int64, none of them forbidden; [posts, criteria]. The
        likelihood of no tokens is of no use."""
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
        """log of the sum over all rows of labels, by the forward algorithm; [posts, criteria]."""
        first, follows, last = self.scores()
        reached = first + emissions[:, 0]
        for token in range(1, emissions.shape[1]):
            further = torch.logsumexp(reached[..., :, None] + follows, dim=-2) + emissions[:, token]
            reached = torch.where(there[:, token, None, None], further, reached)
        return torch.logsumexp(reached + last, dim=-1)

    def marginals(self, emissions: Tensor, there: Tensor) -> Tensor:
        """The probability of each label of each token. Of a chain that is not learned: of the token alone."""
        if not self.learned:
            return torch.softmax(emissions, dim=-1)
        # They are the gradient of log_partition by the emissions.
        with torch.enable_grad():
            free = emissions.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.log_partition(free, there).sum(), free)
        return found

    @torch.no_grad()
    def likeliest(self, emissions: Tensor, there: Tensor) -> Tensor:
        """The row of labels with the highest score (Viterbi, 1967), OUTSIDE where there is no token; [posts,
        tokens, criteria] int64."""
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
        """first [criteria, 3], follows [criteria, 3, 3], last [criteria, 3]; criteria may be 1."""
        if self.learned:
            return self.first + self.forbidden_first, self.follows + self.forbidden, self.last
        nothing = torch.zeros_like(self.forbidden_first)[None]
        return self.forbidden_first[None], self.forbidden[None], nothing
