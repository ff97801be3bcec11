"""Silences advice that the libraries give each other; Kedro calls it before it loads any plugin."""

from __future__ import annotations

import logging
import re
import sys

_OPTION = re.compile(r"KedroDeprecationWarning: (Option '--.*)")


def silence() -> None:
    """Send Python's warnings (deprecations among Kedro, MLflow and OmegaConf, which no user can act on)
    to a logger that drops them, except Kedro's about an option that the user gave; `python -W` or
    PYTHONWARNINGS show them all.

    Filters would not do: MLflow puts its own in front of them.
    """
    if not sys.warnoptions:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").addFilter(_is_about_an_option)


def _is_about_an_option(record: logging.LogRecord) -> bool:
    """Keep the text alone of a warning about an option, without the place in Kedro's source."""
    found = _OPTION.search(record.getMessage())
    if found is not None:
        record.msg, record.args = found[1], ()
    return found is not None
