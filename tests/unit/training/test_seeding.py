"""The state of every generator goes to JSON and back."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from thriftune.errors import DamageError
from thriftune.training.seeding import capture_generators, resolve_device, restore_generators, seed_everything

pytestmark = pytest.mark.unit


def drawn() -> list[float]:
    """A draw from each generator, a Gaussian of NumPy's (which keeps a second one in store) included."""
    return [random.random(), random.gauss(0, 1), float(np.random.standard_normal()), float(torch.rand(()))]


def test_draws_go_on_as_if_nothing_had_been() -> None:
    """Also through JSON text."""
    seed_everything(2**32 + 3)
    drawn()
    state = json.loads(json.dumps(capture_generators()))
    expected = [drawn(), drawn()]
    seed_everything(1)
    restore_generators(state)
    assert [drawn(), drawn()] == expected


def test_a_missing_generator_is_damage() -> None:
    """Never a silent loss of exactness."""
    with pytest.raises(DamageError, match="numpy"):
        restore_generators({"python": [], "torch": "", "cuda": []})


def test_the_device_is_taken_by_name() -> None:
    """auto is CUDA where there is one."""
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
