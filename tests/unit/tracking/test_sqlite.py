"""Write-ahead logs stay short on every connection that is opened afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from thriftune.tracking.sqlite import LOG_BYTES, LOG_PAGES, keep_logs_short

pytestmark = pytest.mark.unit


def test_connections_fold_their_log_back_early(tmp_path: Path) -> None:
    """Registered once however often it is asked for."""
    keep_logs_short()
    keep_logs_short()
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA wal_autocheckpoint")).scalar() == LOG_PAGES
        assert connection.execute(text("PRAGMA journal_size_limit")).scalar() == LOG_BYTES
    engine.dispose()
