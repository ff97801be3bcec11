"""Hide advice that the libraries give each other; Kedro calls it before it loads any plugin."""

from __future__ import annotations

import logging
import re
import sys

_OPTION = re.compile(r"KedroDeprecationWarning: (Option '--.*)")


def silence() -> None:
    """Hide Python's warnings, except Kedro's about an option that the user gave.

    They are deprecations among Kedro, MLflow and OmegaConf, which no user can act on; `python -W` or
    PYTHONWARNINGS show them all. They go to a logger that drops them, since MLflow puts filters of its own in
    front of those of others.
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
