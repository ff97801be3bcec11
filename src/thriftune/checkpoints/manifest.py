"""The manifest of a checkpoint: facts, no judgements; written last, so it marks what is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from thriftune import files
from thriftune.errors import DamageError, refuse_newer

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
CHECKSUM = "checksum"
"""The last field of manifest.json: SHA-256 of the others as canonical JSON, so that no flipped bit
changes a value by which the best is chosen."""

FileName = Annotated[str, Field(pattern=r"^(model\.safetensors|optimizer\.safetensors|state\.json)$")]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, strict=True)]
CountFromOne = Annotated[int, Field(ge=1, strict=True)]
Value = Annotated[float, Field(strict=True, allow_inf_nan=False)] | None


@dataclass(frozen=True)
class FileFact:
    """Size in bytes and hex SHA-256 of one file."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    size: Count
    sha256: Hash


def _require(key: str) -> AfterValidator:
    def check(value: Mapping[str, object]) -> Mapping[str, object]:
        if key not in value:
            raise ValueError(f"{key!r} is a required property")
        return value

    return AfterValidator(check)


@dataclass(frozen=True)
class Manifest:
    """What is in manifest.json."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", title="Manifest of one checkpoint")

    format_version: Annotated[int, Field(ge=FORMAT_VERSION, le=FORMAT_VERSION, strict=True)]
    study: str
    trial: Count
    trial_id: str
    epoch: CountFromOne
    step: Count
    attempt: CountFromOne
    value: Value
    metrics: Mapping[str, Value]
    files: Annotated[
        Mapping[FileName, FileFact], _require(MODEL), Field(json_schema_extra={"required": [MODEL]})
    ]
    signature: Annotated[
        Mapping[str, Any], _require("tensors"), Field(json_schema_extra={"required": ["tensors"]})
    ]
    """The model's, with `tensors`: name to [dtype, shape]."""
    code_version: str
    data_fingerprint: str
    created_at: str

    @property
    def resumable(self) -> bool:
        """Whether training can resume from it: optimizer and state are listed."""
        return OPTIMIZER in self.files and STATE in self.files

    @property
    def sha256(self) -> str:
        """SHA-256 of model.safetensors, which stripping does not touch."""
        return self.files[MODEL].sha256

    @property
    def total_bytes(self) -> int:
        """Bytes of the listed files."""
        return sum(fact.size for fact in self.files.values())

    def stripped(self) -> Manifest:
        """Return the manifest of the same checkpoint reduced to its model."""
        return replace(self, files={MODEL: self.files[MODEL]})

    def to_bytes(self) -> bytes:
        """Return the JSON with its checksum.

        Raises DamageError if a field is not what the format allows, such as a value that is not
        finite.
        """
        facts = asdict(self)
        _parse(facts, "the manifest to be written")
        value = {**facts, CHECKSUM: files.sha256_json(facts)}
        # A line a field: readable, and a third smaller than indented, where thousands of tensors are named.
        lines = (f"{json.dumps(key)}: {json.dumps(item, allow_nan=False)}" for key, item in value.items())
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a checkpoint.

    Raises NewerFormatError if it is whole, and of a format that only a newer version knows.

    Args:
        folder: The checkpoint's folder.

    Raises:
        DamageError: There is no manifest, or it is not what was written.
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
    manifest = _parse(value, str(path))
    if stated != found:
        raise DamageError("does not match its checksum", where=str(path))
    return manifest


def _parse(value: object, where: str) -> Manifest:
    try:
        return _adapter().validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/".join(map(str, first["loc"])) or "the top level"
        raise DamageError(f"is not a manifest at {place}: {first['msg']}", where=where) from error


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of manifest.json, made from `Manifest` and its checksum."""
    schema = _adapter().json_schema()
    schema["properties"][CHECKSUM] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    schema["required"].append(CHECKSUM)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
