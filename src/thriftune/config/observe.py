"""`observe`: logs, and what they may show."""

from __future__ import annotations

from pathlib import Path

from thriftune.config.base import Section, Text, TextList


class ObserveConfig(Section):
    """Log and terminal of a run."""

    log_root: Text = "logs"
    """Directory of the log files, JSON lines; a relative path starts at the project."""
    redact: TextList = ()
    """Regular expressions of the user's own secrets, which are masked wherever text leaves the process."""

    @property
    def log_folder(self) -> Path:
        """The absolute path of `log_root`."""
        return self.resolve(self.log_root)
