"""Ids that are derived, not drawn, and what makes a study the same study."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from thriftune import files
from thriftune.config import Parameters
from thriftune.json_records import JsonRecord

STUDY_PREFIX = "study_"


class StudyIdentity(JsonRecord):
    """All that can change a study's result: these, and every key of `trial_config` and `search`."""

    threads: int
    device: str
    data_fingerprint: str


def study_id(name: str) -> str:
    """Return the slug of the name and 8 hex digits of its SHA-256.

    Args:
        name: As study.name has it.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "study"
    return f"{slug[:40]}-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:8]}"


def study_folder(models_root: Path, name: str) -> Path:
    """Return the study's folder.

    Args:
        models_root: The folder that storage.root names.
        name: As study.name has it.
    """
    return Path(models_root) / f"{STUDY_PREFIX}{study_id(name)}"


def trial_config(parameters: Parameters) -> dict[str, JsonValue]:
    """Return what decides a trial's result.

    Args:
        parameters: The trial's own.
    """
    dumped = parameters.model_dump(mode="json")
    return {
        "corpus": _without(dumped["corpus"], "root", "cache", "source", "files", "hub"),
        "encoder": parameters.encoder,
        "encoder_source": _encoder_source(dumped["encoders"].get(parameters.encoder)),
        "model": dumped["model"],
        "training": _without(dumped["training"], "threads"),
        "metric": dumped["study"]["metric"],
        "seed": dumped["study"]["seed"],
        "min_interval_epochs": save_interval(parameters),
    }


def _encoder_source(source: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    """Leave out what a catalogue's entry of the hub says to its reader."""
    if source is None or source["kind"] != "hub":
        return source
    return _without(source, "window", "licence", "gated", "weights")


def save_interval(parameters: Parameters) -> int:
    """Return the epochs from one candidate for the best to the next; without checkpoints every epoch is one.

    Args:
        parameters: The study's, or a trial's.
    """
    storage = parameters.storage
    return storage.min_interval_epochs if storage.checkpointing else 1


def trial_id(parameters: Parameters) -> str:
    """Return 8 hex digits of the SHA-256 of the trial's configuration.

    Args:
        parameters: The trial's own.
    """
    return files.sha256_json(trial_config(parameters))[:8]


def refused_id(overrides: Mapping[str, object]) -> str:
    """Return the id of a trial whose overrides make no configuration: it depends on the overrides alone.

    Args:
        overrides: Values by dotted key.
    """
    return files.sha256_json(dict(overrides))[:8]


def study_identity(
    parameters: Parameters, corpus: str, encoder: str, device: str, threads: int
) -> StudyIdentity:
    """Return all that can change a study's result.

    Args:
        parameters: Those of the run.
        corpus: The corpus's fingerprint.
        encoder: The encoder's fingerprint.
        device: `cpu` or `cuda`.
        threads: Number of torch's threads.
    """
    return StudyIdentity.model_validate(
        {
            **trial_config(parameters),
            "search": parameters.model_dump(mode="json")["search"],
            "data_fingerprint": corpus,
            "encoder_fingerprint": encoder,
            "device": device,
            "threads": threads,
        }
    )


def differences(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> list[str]:
    """Return `key: old -> new` for every leaf that differs.

    Args:
        old: Nested mappings.
        new: Nested mappings.
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def flat(value: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the leaves of nested mappings by dotted key.

    Args:
        value: Nested mappings; an empty one counts as a leaf.
    """
    return dict(_leaves(value))


def _leaves(value: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _without(value: Mapping[str, JsonValue], *keys: str) -> dict[str, JsonValue]:
    return {key: item for key, item in value.items() if key not in keys}
