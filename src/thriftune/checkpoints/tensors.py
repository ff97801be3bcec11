"""Named tensors to a safetensors file, hashed while it is written, without a second copy of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load_file

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
CHUNK_BYTES = 16 << 20


def describe(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[Any]]:
    """name: [dtype, shape], sorted by name."""
    return {name: [_DTYPES[t.dtype], list(t.shape)] for name, t in sorted(tensors.items())}


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of the values alone."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def serialise(tensors: Mapping[str, torch.Tensor]) -> Iterator[memoryview | bytes]:
    """The bytes of a safetensors file in pieces; no time, host or path stands in its header."""
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
        flat = tensors[name].detach().contiguous().reshape(-1)
        if flat.numel():
            raw = memoryview(flat.view(torch.uint8).numpy().data)
            for start in range(0, len(raw), CHUNK_BYTES):
                yield raw[start : start + CHUNK_BYTES]


def write_hashed(handle: IO[bytes], pieces: Iterator[memoryview | bytes]) -> FileFact:
    """Write the pieces and return size and SHA-256 of what was written, in one pass."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        handle.write(piece)
        size += len(piece)
    return FileFact(size, digest.hexdigest())


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file whose hash was verified."""
    loaded: dict[str, torch.Tensor] = load_file(str(path))
    return loaded
