"""Frozen, typed parameters of a run, one module a concern. Imports nothing else of ours."""

from thriftune.config.base import Section
from thriftune.config.corpus import ColumnsConfig, CorpusConfig, FilesConfig, SplitConfig
from thriftune.config.credentials import with_credentials
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
from thriftune.config.parameters import (
    EvaluationConfig,
    ObserveConfig,
    Parameters,
    TrackingConfig,
    known_keys,
    override,
    parse_parameters,
    suggest,
    without_password,
)
from thriftune.config.storage import StorageConfig, parse_bytes
from thriftune.config.study import (
    Choices,
    FloatRange,
    IntRange,
    Range,
    SearchConfig,
    StudyConfig,
)
from thriftune.config.training import TrainingConfig

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
