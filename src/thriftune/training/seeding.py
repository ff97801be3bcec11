"""One seed for every generator, and the state of all of them as JSON.

A checkpoint has the generators that `GeneratorStates` lists; a missing one is an error on restore, never a
silent loss of exactness.
"""

from __future__ import annotations

import base64
import logging
import os
import random
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch

from thriftune.container import GPU_FLAG, in_image
from thriftune.errors import ConfigError, DamageError

log = logging.getLogger(__name__)


class NumpyState(TypedDict):
    """State of NumPy's global MT19937."""

    key: str
    """624 words in base64."""
    pos: int
    has_gauss: int
    gauss: float


class GeneratorStates(TypedDict):
    """State of every generator as JSON values."""

    python: tuple[int, str, float | None]
    """Version, 625 words in base64, and the second number of the last Gaussian pair."""
    numpy: NumpyState
    torch: str
    """The CPU's, in base64."""
    cuda: list[str]
    """Each device's, in base64."""


def configure_determinism(threads: int, device: torch.device) -> None:
    """Fix the CPU thread count and have torch use deterministic kernels only.

    On CUDA this needs CUBLAS_WORKSPACE_CONFIG before the first kernel, which is set here.

    Args:
        threads: Number of torch's threads.
        device: Where training runs.
    """
    torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    # Otherwise each new tensor is filled, for kernels that would read what they have not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def resolve_device(name: str) -> torch.device:
    """Return the torch device of `training.device`.

    Args:
        name: cpu, cuda, or auto for CUDA where there is a device.

    Raises:
        ConfigError: cuda is asked for, and there is no device.
    """
    if name == "cuda" and (missing := no_gpu()):
        raise ConfigError(
            missing,
            where="training.device",
            remedy="set training.device=auto or cpu; `thriftune doctor` says what torch finds.",
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def no_gpu() -> str:
    """Return why torch has no CUDA device here, and how a container gets one; empty if it has one."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return "this torch is a CPU build" + (
            "; docs/container.md says how to build the image with CUDA" if in_image() else ""
        )
    return "torch finds no CUDA device here" + (
        f"; {GPU_FLAG} shows the host's to the container" if in_image() else ""
    )


def warn_of_cpu(name: str) -> None:
    """Log a warning if an image with CUDA was started without a GPU: `auto` would train on the CPU for days.

    Args:
        name: The value of `training.device`.
    """
    if name == "auto" and in_image() and torch.version.cuda and (missing := no_gpu()):
        log.warning("%s; training is on the CPU", missing)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's (CPU and CUDA) global generators.

    Args:
        seed: Not negative; NumPy takes its lowest 32 bits.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture_generators() -> GeneratorStates:
    """Return the state of every generator as JSON values."""
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    return {
        "python": (version, _encode_words(words), gauss),
        "numpy": {
            "key": _encode_words(numpy_state["state"]["key"]),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": _encode(torch.get_rng_state()),
        "cuda": [_encode(state) for state in _cuda_states()],
    }


def restore_generators(state: GeneratorStates) -> None:
    """Set every generator to its captured state.

    Args:
        state: As captured, or read from a checkpoint.

    Raises:
        DamageError: A generator is missing.
    """
    missing = [name for name in GeneratorStates.__annotations__ if name not in state]
    if missing:
        raise DamageError(f"the checkpoint's state lacks the generators {', '.join(missing)}")
    version, words, gauss = state["python"]
    random.setstate((version, tuple(_decode_words(words).tolist()), gauss))
    stored = state["numpy"]
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": _decode_words(stored["key"]), "pos": stored["pos"]},
            "has_gauss": stored["has_gauss"],
            "gauss": stored["gauss"],
        }
    )
    torch.set_rng_state(_decode(state["torch"]))
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([_decode(item) for item in state["cuda"]])


def _cuda_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _encode_words(words: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.uint32]]) -> str:
    """Return 32-bit words in base64, a third of the length of their digits."""
    return base64.b64encode(np.asarray(words, dtype="<u4").tobytes()).decode("ascii")


def _decode_words(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.frombuffer(base64.b64decode(text), dtype="<u4")


def _encode(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode("ascii")


def _decode(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
