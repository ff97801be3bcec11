"""All parameters of a run as one frozen value, and how a raw mapping is parsed into it.

`parse_parameters` collects every mistake of the mapping into one ConfigError, each with its key, the
file it comes from where that is known, and the nearest key or value that exists.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from thriftune.config.base import Section, Text
from thriftune.config.corpus import CorpusConfig
from thriftune.config.evaluation import EvaluationConfig
from thriftune.config.model import EncoderSource, ModelConfig
from thriftune.config.observe import ObserveConfig
from thriftune.config.storage import StorageConfig
from thriftune.config.study import SearchConfig, StudyConfig
from thriftune.config.tracking import TrackingConfig
from thriftune.config.training import TrainingConfig
from thriftune.errors import ConfigError


class Parameters(Section):
    """Every parameter of a run. The top-level keys are those of the parameter files."""

    corpus: CorpusConfig = CorpusConfig()
    encoder: Text = "tiny"
    """A name of `encoders`, a local directory, or any id of the hub (owner/name or owner/name@revision)."""
    encoders: dict[str, EncoderSource] = Field(default_factory=dict)
    """Encoders by name: where each one comes from."""
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    study: StudyConfig = StudyConfig()
    search: SearchConfig = SearchConfig()
    storage: StorageConfig = StorageConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    observe: ObserveConfig = ObserveConfig()

    @property
    def project_folder(self) -> Path:
        """The absolute path of the project's folder, as `at` was given it."""
        return self.resolve("")

    def folders(self) -> dict[str, Path]:
        """Return the absolute paths of the folders that a run writes to, by the key that sets them."""
        return {
            "corpus.root": self.corpus.folder,
            "corpus.cache": self.corpus.cache_folder,
            "storage.root": self.storage.folder,
            "tracking.root": self.tracking.folder,
            "observe.log_root": self.observe.log_folder,
        }


def parse_parameters(
    raw: Mapping[str, Any], *, root: Path | None = None, where: Mapping[str, str] | None = None
) -> Parameters:
    """Return the parameters of a whole mapping, checked.

    Args:
        raw: The mapping, as the parameter files or a record have it.
        root: The project's folder, where relative paths start. None: `at` has to be called before the
            absolute path of a relative one is asked for.
        where: The file or option that set a dotted key, or a prefix of one; shown with a mistake.

    Raises:
        ConfigError: Anything is wrong; one error lists every mistake.
    """
    try:
        parsed = Parameters.model_validate(dict(raw))
        return parsed if root is None else parsed.at(root)
    except ValidationError as error:
        lines = [_describe(item, where or {}) for item in error.errors()]
        count = f"{len(lines)} wrong parameters" if len(lines) > 1 else "a wrong parameter"
        raise ConfigError(
            f"{count}:\n" + "\n".join(f"  - {line}" for line in lines),
            remedy="correct the keys named above; nothing was written.",
        ) from error


def override(parameters: Parameters, overrides: Mapping[str, Any]) -> Parameters:
    """Return a copy with dotted keys replaced, of the same project.

    Args:
        parameters: The parameters to start from.
        overrides: A value for each dotted key.

    Raises:
        ConfigError: There is no such key, or the whole is no longer valid.
    """
    raw = parameters.model_dump()
    for key, value in overrides.items():
        *parents, leaf = key.split(".")
        place: Any = raw
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf not in place:
            raise ConfigError(f"unknown parameter {key!r}{suggest(key, known_keys())}")
        place[leaf] = value
    return parse_parameters(raw, root=parameters._project)


def known_keys() -> tuple[str, ...]:
    """Return every dotted key of a parameter, leaves and sections, in the order of the models."""
    return tuple(_walk(Parameters, ""))


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` with the nearest known name, or an empty text where none is near.

    Args:
        name: The unknown name.
        known: The names that there are.
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _walk(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        yield key
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _walk(annotation, f"{key}.")


PYDANTIC, CHOICE = "Input should be ", re.compile("'([^']*)'")
"""How pydantic's messages begin, and how they name one of the choices."""


def _describe(item: ErrorDetails, where: Mapping[str, str]) -> str:
    """Return one mistake as a line: key, source, what was expected, what was given."""
    key = ".".join(str(part) for part in item["loc"])
    source = _source_of(key, where)
    place = f"{key} ({source})" if key else source
    if item["type"] == "extra_forbidden":
        return f"{place}: unknown key{suggest(key, known_keys())}"
    if item["type"].startswith("union_tag") and key.startswith("search.space."):
        return (
            f"{place}: an entry of the search space needs a type of float, int or categorical under its "
            "dotted key, such as `training.learning_rate: {type: float, low: 1e-5, high: 1e-3}`; entries are "
            "set in a parameter file, since --params splits their keys"
        )
    message = item["msg"].removeprefix("Value error, ")
    if message.startswith(PYDANTIC):
        expected = re.split(", (?:unable|got)", message.removeprefix(PYDANTIC))[0]
        near = suggest(str(item["input"]), CHOICE.findall(expected))
        return f"{place}: expected {expected}, got {item['input']!r}{near}"
    shown = "" if message.startswith("expected") or not key else f", got {item['input']!r}"
    if item["type"] == "value_error" and isinstance(item["input"], Mapping | BaseModel):
        shown = ""
    return f"{place}: {message}{shown}"


def _source_of(key: str, where: Mapping[str, str]) -> str:
    """Return the file or option that set a key; for a section, those that set a key of it."""
    for prefix in _prefixes(key):
        if prefix in where:
            return where[prefix]
        if inside := {source for name, source in where.items() if name.startswith(f"{prefix}.")}:
            return ", ".join(sorted(inside))
    return "the parameters"


def _prefixes(key: str) -> Iterator[str]:
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        yield ".".join(parts[:end])
