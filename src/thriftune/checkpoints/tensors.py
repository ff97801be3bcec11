"""Named tensors to a safetensors file, hashed while it is written, without a second copy of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from thriftune.checkpoints.hashing import READ_BYTES, check_hash, check_size
from thriftune.checkpoints.manifest import FileFact

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_TORCH = {name: dtype for dtype, name in _DTYPES.items()}
CHUNK_BYTES = 16 << 20
"""One piece of a tensor that is written."""


def describe(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[Any]]:
    """Return [dtype, shape] of each tensor, sorted by name.

    Args:
        tensors: By name.
    """
    return {name: [_DTYPES[t.dtype], list(t.shape)] for name, t in sorted(tensors.items())}


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the bytes of the values alone.

    Args:
        tensors: By name, of any device.
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def serialise(tensors: Mapping[str, torch.Tensor]) -> Iterator[memoryview | bytes]:
    """Yield the bytes of a safetensors file in pieces; its header has no time, host or path.

    A tensor of another device is copied to the CPU when its turn comes, so at most the largest one is held
    twice.

    Args:
        tensors: By name, of any device.
    """
    header: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape) in describe(tensors).items():
        size = tensors[name].numel() * tensors[name].element_size()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in header:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            raw = memoryview(flat.view(torch.uint8).numpy().data)
            for start in range(0, len(raw), CHUNK_BYTES):
                yield raw[start : start + CHUNK_BYTES]


def read_verified(path: Path, fact: FileFact) -> torch.Tensor:
    """Return a file's bytes, [size] uint8, read once and hashed beside the reading.

    Raises DamageError if they are not what the manifest says.

    Args:
        path: Of the file.
        fact: What its manifest says.
    """
    check_size(path, fact)
    content = torch.empty(fact.size, dtype=torch.uint8)
    whole = memoryview(content.numpy().data)
    check_hash(path, fact, (whole[start : start + READ_BYTES] for start in range(0, fact.size, READ_BYTES)))
    return content


def tensors_in(content: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file, by name: views of its bytes where they are aligned.

    Args:
        content: The file's verified bytes, [size] uint8.
    """
    length = int.from_bytes(bytes(content[:8].numpy()), "little")
    header = json.loads(bytes(content[8 : 8 + length].numpy()))
    values = content[8 + length :]
    found = {}
    for name, fact in header.items():
        dtype, (start, end) = _TORCH[fact["dtype"]], fact["data_offsets"]
        raw = values[start:end]
        if (raw.data_ptr() if raw.numel() else 0) % dtype.itemsize:
            raw = raw.clone()
        found[name] = (
            raw.view(dtype).reshape(fact["shape"]) if raw.numel() else torch.empty(fact["shape"], dtype=dtype)
        )
    return found
