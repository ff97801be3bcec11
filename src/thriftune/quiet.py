"""Silences advice that the libraries give each other; Kedro calls it before it loads any plugin."""

from __future__ import annotations

import logging
import sys


def silence() -> None:
    """Send Python's warnings (deprecations among Kedro, MLflow and OmegaConf, which no user can act on)
    to a logger that drops them; `python -W` or PYTHONWARNINGS show them again.

    Filters would not do: MLflow puts its own in front of them.
    """
    if not sys.warnoptions:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)
