"""The files of a trial's folder: where they are, and the configuration that one holds.

Light, since the commands that only read need nothing else of a trial.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from thriftune.checkpoints.folders import trial_number
from thriftune.config import Parameters, parse_parameters
from thriftune.errors import ConfigError

JOURNAL, CONFIG, REPORT = "metrics.jsonl", "config.yaml", "validation.json"


def trial_folder(study_folder: Path, number: int, identity: str) -> Path:
    """Return the folder of a trial.

    Args:
        study_folder: The study's.
        number: The trial's.
        identity: The id that is derived from the trial's configuration.
    """
    return study_folder / "trials" / f"trial_{number:04d}_{identity}"


def journals_of(study_folder: Path) -> dict[int, Path]:
    """Return every journal of a study by its trial's number, in order.

    Args:
        study_folder: The study's.
    """
    found = sorted(study_folder.glob(f"trials/*/{JOURNAL}"))
    return {trial_number(path.parent.name): path for path in found}


def read_config(path: Path) -> Parameters | None:
    """Return a trial's resolved configuration; None where the file is missing or is not one.

    Args:
        path: Of the file.
    """
    try:
        return parse_parameters(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError, ConfigError):
        return None
