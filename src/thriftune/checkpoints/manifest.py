"""The manifest of a checkpoint: facts, no judgements; written last, so it marks what is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.errors import DamageError, refuse_newer
from thriftune.json_schema import violation

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
CHECKSUM = "checksum"
"""The last field of manifest.json: SHA-256 of the others as canonical JSON, so that no flipped bit
changes a value by which the best is chosen."""
SCHEMA = Path(__file__).parent / "manifest.schema.json"


@dataclass(frozen=True)
class FileFact:
    """Size in bytes and hex SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What stands in manifest.json."""

    format_version: int
    study: str
    trial: int
    trial_id: str
    epoch: int
    step: int
    attempt: int
    value: float | None
    metrics: Mapping[str, float | None]
    files: Mapping[str, FileFact]
    signature: Mapping[str, Any]
    """The model's, with `tensors`: name to [dtype, shape]."""
    code_version: str
    data_fingerprint: str
    created_at: str

    @property
    def resumable(self) -> bool:
        """Training can go on from it: optimizer and state are listed."""
        return OPTIMIZER in self.files and STATE in self.files

    @property
    def sha256(self) -> str:
        """That of model.safetensors, which strip never touches."""
        return self.files[MODEL].sha256

    @property
    def total_bytes(self) -> int:
        """Bytes of the listed files."""
        return sum(fact.size for fact in self.files.values())

    def stripped(self) -> Manifest:
        """The same checkpoint reduced to its model."""
        return replace(self, files={MODEL: self.files[MODEL]})

    def to_bytes(self) -> bytes:
        """JSON with its checksum, checked against the schema."""
        facts = asdict(self)
        value = {**facts, CHECKSUM: files.sha256_json(facts)}
        check_manifest(value, "the manifest to be written")
        # A line a field: readable, and a third smaller than indented, where thousands of tensors are named.
        lines = (f"{json.dumps(key)}: {json.dumps(item, allow_nan=False)}" for key, item in value.items())
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8")


_checked: set[str] = set()
"""Checksums of manifests that the schema has seen: with hundreds of tensors it takes many times as long as a
checksum, and each save reads manifests several times."""


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a checkpoint's folder.

    Args:
        folder: The checkpoint's folder.

    Raises:
        DamageError: There is no manifest, or none that is valid.
        NewerFormatError: It is whole, and of a format that only a newer version knows.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink():
            raise DamageError("is a symbolic link", where=str(path))
        value = json.loads(path.read_bytes().decode("utf-8"))
        stated = value.pop(CHECKSUM, None) if isinstance(value, dict) else None
        found = files.sha256_json(value)
    except (OSError, ValueError, RecursionError) as error:
        raise DamageError(f"cannot be read: {error}", where=str(path)) from error
    if stated == found:  # else its version may be what is damaged
        refuse_newer(value, "format_version", FORMAT_VERSION, str(path))
    if stated != found or found not in _checked:
        check_manifest(value if stated is None else {**value, CHECKSUM: stated}, str(path))
    if stated != found:
        raise DamageError("does not have the checksum that it states", where=str(path))
    _checked.add(found)
    facts = {name: FileFact(**fact) for name, fact in value["files"].items()}
    return Manifest(**{**value, "files": facts})


@cache
def manifest_schema() -> Any:
    """The JSON Schema of a manifest."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def check_manifest(value: Any, where: str) -> None:
    """DamageError, with the place inside, where a value is no manifest."""
    found = violation(value, manifest_schema())
    if found is not None:
        raise DamageError(f"is no manifest at {found.place}: {found.message}", where=where)
