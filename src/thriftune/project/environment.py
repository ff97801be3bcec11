"""Environment variables that libraries read: set by whoever starts the project, not by importing a room."""

from __future__ import annotations

import os

OPTIONS = {
    # Nothing is sent that nobody asked for.
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Downloads go over plain HTTPS, where one that was cut resumes; Xet's client has retries of its own.
    "HF_HUB_DISABLE_XET": "1",
    # The line "View run ... at ..." of MLflow's client after each run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Its messages on making tables and artifacts.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""Read by the libraries when they are imported."""

TIME_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""Seconds and retries of a call to MLflow's server: in a run, one that hangs costs seconds and not minutes.
The sender retries for as long as it takes."""


def set_library_options() -> None:
    """Set the options that the user has not set; call it before the libraries are imported."""
    for name, value in OPTIONS.items():
        os.environ.setdefault(name, value)


def set_time_limits() -> None:
    """Set the time limits of MLflow's client that the user has not set."""
    for name, value in TIME_LIMITS.items():
        os.environ.setdefault(name, value)
