"""What training hands over at an epoch's end, and the receipt by which it learns of the commit."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from thriftune.errors import ThriftuneError

if TYPE_CHECKING:
    import torch
    from pydantic import JsonValue


class Receipt(Future[None]):
    """A future that is done once the checkpoint is durable, or its write has failed.

    awaited: whoever made the checkpoint looks at the receipt, so a failed write is raised there and
    not where the store was called.
    """

    def __init__(self, *, awaited: bool = False) -> None:
        super().__init__()
        self.awaited = awaited

    def accept(self) -> None:
        """Note that a store has the checkpoint and will settle the receipt."""
        if not (self.running() or self.done()):
            self.set_running_or_notify_cancel()

    def commit(self) -> None:
        """Note that the checkpoint is durable."""
        if not self.done():
            self.set_result(None)

    def fail(self, cause: BaseException) -> None:
        """Note that the write failed.

        Args:
            cause: Raised where the receipt is checked.
        """
        if not self.done():
            self.set_exception(cause)

    def check(self) -> None:
        """Raise what the write failed of, if it has failed by now. Does not wait.

        Raises:
            ThriftuneError: No store has the checkpoint.
        """
        if self.done():
            self.result()
        elif not self.running():
            raise ThriftuneError("a checkpoint was yielded but no store saved it")

    def wait(self) -> None:
        """Wait until the checkpoint is durable; raise what the write failed of.

        Raises ThriftuneError if no store has the checkpoint.
        """
        self.check()
        self.result()


@dataclass(frozen=True)
class Checkpoint:
    """One trial at the end of one epoch (epochs count from 1).

    A `Run` fills in study, trial, trial_id and attempt.
    """

    epoch: int
    step: int
    """Optimizer steps taken so far in this trial."""
    model: Mapping[str, torch.Tensor]
    """What training changed: trained parameters and buffers. What it did not change is named, with its
    hashes, in signature["base"]."""
    value: float | None = None
    """The optimisation metric, the higher the better; None where it is undefined."""
    optimizer: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Optimizer state, flattened to named tensors."""
    state: Mapping[str, JsonValue] = field(default_factory=dict)
    """Everything else that exact resume needs, as JSON values."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Validation metrics by dotted name."""
    signature: Mapping[str, JsonValue] = field(default_factory=dict)
    """architecture, heads, criteria; the store adds every tensor's name, shape and dtype."""
    data_fingerprint: str = ""
    study: str = ""
    """Study id."""
    trial: int = 0
    """Trial number, from 0."""
    trial_id: str = ""
    attempt: int = 1
    is_best: bool = False
    """No earlier save of the trial had a value as good. For whoever drives the training; it is not stored."""
    detached: bool = False
    """The tensors are copies that nothing changes any more, so they can be written while training goes
    on. Otherwise they must be written before the save returns."""
    receipt: Receipt = field(default_factory=Receipt, compare=False)

    def detach(self) -> Checkpoint:
        """Return a checkpoint of copies in CPU memory, which can be written while training continues."""
        if self.detached:
            return self
        model, optimizer = _copied(self.model), _copied(self.optimizer)
        return replace(self, model=model, optimizer=optimizer, detached=True)


def _copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
