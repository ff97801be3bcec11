"""One seed for every generator, and the state of all of them as JSON.

The declared list of generators (`GENERATORS`) is what a checkpoint carries; a missing entry on
restore is an error, never a silent loss of exactness.
"""

from __future__ import annotations

import base64
import logging
import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from thriftune.container import GPU_FLAG, in_image
from thriftune.errors import ConfigError, DamageError

log = logging.getLogger(__name__)

GENERATORS = ("python", "numpy", "torch", "cuda")


def configure_determinism(threads: int, device: torch.device) -> None:
    """Fix the CPU thread count and ask torch for deterministic kernels only.

    On CUDA this needs CUBLAS_WORKSPACE_CONFIG before the first kernel, which is set here.
    """
    torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    # Else each new tensor is filled first, for kernels that would read what they have not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def resolve_device(name: str) -> torch.device:
    """The torch device of `training.device`; auto takes CUDA where there is one. ConfigError where cuda is
    asked for and there is none."""
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
    """Why torch has no CUDA device here, and in a container how it gets one; empty where it has one."""
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
    """Where an image with CUDA was started without a GPU, `auto` would train for days and say nothing."""
    if name == "auto" and in_image() and torch.version.cuda and (missing := no_gpu()):
        log.warning("%s; training is on the CPU", missing)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's (CPU and CUDA) global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture_generators() -> dict[str, Any]:
    """The state of every generator as JSON values (what is long in base64)."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)
    return {
        "python": [version, _encode_words(words), gauss],
        "numpy": {
            "key": _encode_words(numpy_state["state"]["key"]),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": _encode(torch.get_rng_state()),
        "cuda": [_encode(state) for state in _cuda_states()],
    }


def restore_generators(state: Mapping[str, Any]) -> None:
    """Set every generator as captured; DamageError where one is missing."""
    missing = [name for name in GENERATORS if name not in state]
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


def _encode_words(words: Any) -> str:
    """32-bit words in base64, a third of their digits."""
    return base64.b64encode(np.asarray(words, dtype="<u4").tobytes()).decode("ascii")


def _decode_words(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(base64.b64decode(text), dtype="<u4")


def _encode(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode("ascii")


def _decode(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
