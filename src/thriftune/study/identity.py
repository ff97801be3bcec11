"""Ids that are derived, not drawn, and what makes a study the same study."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.config import Parameters

STUDY_PREFIX = "study_"


def study_id(name: str) -> str:
    """The slug of the name and 8 hex digits of its SHA-256."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "study"
    return f"{slug[:40]}-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:8]}"


def study_folder(models_root: Path, name: str) -> Path:
    """The study's folder below storage.root."""
    return Path(models_root) / f"{STUDY_PREFIX}{study_id(name)}"


def trial_config(parameters: Parameters) -> dict[str, Any]:
    """What decides a trial's result, as JSON values."""
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


def _encoder_source(source: dict[str, Any] | None) -> dict[str, Any] | None:
    """Without what a catalogue's entry of the hub says to its reader."""
    if source is None or source["kind"] != "hub":
        return source
    return _without(source, "window", "licence", "gated", "weights")


def save_interval(parameters: Parameters) -> int:
    """Epochs from one candidate for the best to the next; without checkpoints every validated one is."""
    storage = parameters.storage
    return storage.min_interval_epochs if storage.checkpointing else 1


def trial_id(parameters: Parameters) -> str:
    """8 hex digits of the SHA-256 of the trial's configuration."""
    return files.sha256_json(trial_config(parameters))[:8]


def refused_id(overrides: Mapping[str, Any]) -> str:
    """The id of a trial whose overrides make no configuration: of the overrides alone."""
    return files.sha256_json(dict(overrides))[:8]


def study_identity(
    parameters: Parameters, corpus: str, encoder: str, device: str, threads: int
) -> dict[str, Any]:
    """All that can change a study's result; corpus and encoder are fingerprints."""
    search = parameters.model_dump(mode="json")["search"]
    return {
        **trial_config(parameters),
        "search": search,
        "data_fingerprint": corpus,
        "encoder_fingerprint": encoder,
        "device": device,
        "threads": threads,
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every leaf that differs."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by dotted key."""
    return dict(_leaves(value))


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _without(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}
