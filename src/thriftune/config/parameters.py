"""All parameters of a run as one frozen value, and the way from a raw mapping to it.

`parse_parameters` collects every mistake of the mapping into one ConfigError, each with its key, the
file it comes from where that is known, and the nearest key or value that exists.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_serializer, field_validator

from thriftune.config.base import Section, Text, TextList
from thriftune.config.corpus import CorpusConfig
from thriftune.config.model import EncoderSource, ModelConfig
from thriftune.config.storage import StorageConfig
from thriftune.config.study import SearchConfig, StudyConfig
from thriftune.config.training import TrainingConfig
from thriftune.errors import ConfigError

OPTUNA_STORE = "postgresql"
"""What Optuna can keep a study in that several machines work on."""
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""What MLflow can keep its runs in; its file store was given up."""


class EvaluationConfig(Section):
    """The one test evaluation."""

    force: bool = False
    """Evaluate a study again that was evaluated already."""
    bootstrap_samples: int = Field(default=1000, ge=0)
    """Resamples of the 95 % intervals; 0: none."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the resamples."""
    batch_size: int = Field(default=32, ge=1)
    """Posts per forward pass."""
    examples: int = Field(default=1, ge=0, le=20)
    """Posts that report.html quotes of each criterion with evidence found, missed, and marked by mistake;
    0: no text of a post is in it. The copy in MLflow never has any."""


class TrackingConfig(Section):
    """Where MLflow and Optuna keep their records."""

    root: Text = "data/tracking"
    mlflow_uri: Text | None = None
    """null: SQLite at <root>/mlflow.db."""
    optuna_url: Text | None = None
    """null: SQLite at <root>/optuna.db. Else a PostgreSQL, for workers on several machines."""
    artifacts: Text | None = None
    """Folder or URI of MLflow's artifacts (reports, no checkpoints); null: below root."""
    experiment: Text = "thriftune"
    """MLflow's experiment of all runs."""
    log_every_steps: int = Field(default=20, ge=1)
    """Optimizer steps of one row of training metrics: means over them, the learning rate at the last."""
    figures: Literal["curves", "all"] = "curves"
    """Validation figures that are logged every epoch: the averages and each criterion's F1, or all of
    them, at three times the bytes in journals and MLflow. The best epoch's are whole in validation.json."""

    @field_validator("mlflow_uri")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        scheme = (value or "sqlite:").partition(":")[0].partition("+")[0]
        if scheme not in STORES:
            raise ValueError(
                f"expected a URI that begins with one of {', '.join(STORES)}, got {without_password(value)!r}"
            )
        return _with_driver(value)

    @field_validator("optuna_url")
    @classmethod
    def _is_postgres(cls, value: str | None) -> str | None:
        if value is not None and value.partition(":")[0].partition("+")[0] != OPTUNA_STORE:
            raise ValueError(
                f"expected {OPTUNA_STORE}://user@host/database, got {without_password(value)!r}; SQLite "
                "(null) serves one machine"
            )
        return _with_driver(value)

    @field_serializer("mlflow_uri", "optuna_url")
    def _never_a_password(self, value: str | None) -> str | None:
        """Records, runs and messages say where a store is, not how one gets in."""
        return None if value is None else without_password(value)


def without_password(url: str | None) -> str:
    """A URL without the password of its user, which may hold an @ and may stand among the options too."""
    bare = re.sub(r"(://[^:/@]*):[^/?]*@", r"\1@", url or "", count=1)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1", bare)


def _with_driver(url: str | None) -> str | None:
    """psycopg 3 is the driver that is installed; SQLAlchemy's own default is another."""
    plain = f"{OPTUNA_STORE}://"
    return url.replace(plain, f"{OPTUNA_STORE}+psycopg://", 1) if url and url.startswith(plain) else url


class ObserveConfig(Section):
    """Log and terminal."""

    log_root: Text = "logs"
    """Directory of the log files, JSON lines."""
    redact: TextList = ()
    """Regular expressions of the user's own secrets, masked wherever text leaves the process."""


class Parameters(Section):
    """Every parameter of a run. The top-level keys are those of the parameter files."""

    corpus: CorpusConfig = CorpusConfig()
    encoder: Text = "tiny"
    """A name of `encoders`, a local directory, or any id of the hub (owner/name or owner/name@revision)."""
    encoders: dict[str, EncoderSource] = Field(default_factory=dict)
    """The catalogue of encoders by name."""
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    study: StudyConfig = StudyConfig()
    search: SearchConfig = SearchConfig()
    storage: StorageConfig = StorageConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    observe: ObserveConfig = ObserveConfig()

    def roots(self) -> dict[str, str]:
        """The folders that a run writes to, by the key that sets them."""
        return {
            "corpus.root": self.corpus.root,
            "corpus.cache": self.corpus.cache,
            "storage.root": self.storage.root,
            "tracking.root": self.tracking.root,
            "observe.log_root": self.observe.log_root,
        }


def parse_parameters(raw: Mapping[str, Any], *, where: Mapping[str, str] | None = None) -> Parameters:
    """Parse the whole mapping; raises one ConfigError that lists every mistake.

    `where` maps a dotted key (or a prefix of one) to the file or option that set it.
    """
    try:
        return Parameters.model_validate(dict(raw))
    except ValidationError as error:
        lines = [_describe(item, where or {}) for item in error.errors()]
        count = f"{len(lines)} wrong parameters" if len(lines) > 1 else "a wrong parameter"
        raise ConfigError(
            f"{count}:\n" + "\n".join(f"  - {line}" for line in lines),
            remedy="correct the keys named above; nothing was written.",
        ) from error


def override(parameters: Parameters, overrides: Mapping[str, Any]) -> Parameters:
    """A copy with dotted keys replaced and the whole validated again (ConfigError)."""
    raw = parameters.model_dump()
    for key, value in overrides.items():
        *parents, leaf = key.split(".")
        place: Any = raw
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf not in place:
            raise ConfigError(f"unknown parameter {key!r}{suggest(key, known_keys())}")
        place[leaf] = value
    return parse_parameters(raw)


def known_keys() -> tuple[str, ...]:
    """Every dotted key of a parameter, leaves and sections, in the order of the models."""
    return tuple(_walk(Parameters, ""))


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest known name, or nothing where none is near."""
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
"""How its messages begin, and what one of the choices is in them."""


def _describe(item: Any, where: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    source = next((where[prefix] for prefix in _prefixes(key) if prefix in where), "the parameters")
    place = f"{key} ({source})" if key else source
    if item["type"] == "extra_forbidden":
        return f"{place}: unknown key{suggest(key, known_keys())}"
    if item["type"].startswith("union_tag") and key.startswith("search.space."):
        return (
            f"{place}: an entry of the search space needs a type of float, int or categorical under its "
            "dotted key, such as `training.learning_rate: {type: float, low: 1e-5, high: 1e-3}`; entries are "
            "set in a parameter file, since --params splits their keys"
        )
    message = str(item["msg"]).removeprefix("Value error, ")
    if message.startswith(PYDANTIC):
        expected = re.split(", (?:unable|got)", message.removeprefix(PYDANTIC))[0]
        near = suggest(str(item["input"]), CHOICE.findall(expected))
        return f"{place}: expected {expected}, got {item['input']!r}{near}"
    shown = "" if message.startswith("expected") or not key else f", got {item['input']!r}"
    if item["type"] == "value_error" and isinstance(item["input"], Mapping | BaseModel):
        shown = ""
    return f"{place}: {message}{shown}"


def _prefixes(key: str) -> Iterator[str]:
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        yield ".".join(parts[:end])
