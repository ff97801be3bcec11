"""The parameters of a run: frozen, typed, checked as a whole, a module for each section.

A mistake is reported with its key, the file that set it, and the nearest key that exists. Paths start at the
project's folder, and are recorded as the user wrote them.

    from thriftune.config import override, parse_parameters

    parameters = parse_parameters({"training": {"epochs": 3}}, root=Path("project"))
    parameters.storage.folder                                  # /.../project/data/06_models
    longer = override(parameters, {"training.epochs": 10})     # checked again
"""

from thriftune.config.base import Section
from thriftune.config.corpus import ColumnsConfig, CorpusConfig, FilesConfig, SplitConfig
from thriftune.config.credentials import with_credentials
from thriftune.config.evaluation import EvaluationConfig
from thriftune.config.model import (
    AgentConfig,
    CriteriaAgentConfig,
    EncoderFromConfig,
    EncoderFromDirectory,
    EncoderFromHub,
    EncoderFromPackage,
    EncoderSource,
    EvidenceAgentConfig,
    ModelConfig,
)
from thriftune.config.observe import ObserveConfig
from thriftune.config.parameters import Parameters, known_keys, override, parse_parameters, suggest
from thriftune.config.storage import StorageConfig
from thriftune.config.study import (
    Choices,
    FloatRange,
    IntRange,
    Range,
    SearchConfig,
    StudyConfig,
)
from thriftune.config.tracking import TrackingConfig
from thriftune.config.training import TrainingConfig
from thriftune.config.urls import without_password
from thriftune.units import parse_bytes

__all__ = [
    "AgentConfig",
    "Choices",
    "ColumnsConfig",
    "CorpusConfig",
    "CriteriaAgentConfig",
    "EncoderFromConfig",
    "EncoderFromDirectory",
    "EncoderFromHub",
    "EncoderFromPackage",
    "EncoderSource",
    "EvaluationConfig",
    "EvidenceAgentConfig",
    "FilesConfig",
    "FloatRange",
    "IntRange",
    "ModelConfig",
    "ObserveConfig",
    "Parameters",
    "Range",
    "SearchConfig",
    "Section",
    "SplitConfig",
    "StorageConfig",
    "StudyConfig",
    "TrackingConfig",
    "TrainingConfig",
    "known_keys",
    "override",
    "parse_bytes",
    "parse_parameters",
    "suggest",
    "with_credentials",
    "without_password",
]
