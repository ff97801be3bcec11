"""Passwords come from credentials.yml, and stand in no record."""

from __future__ import annotations

import pytest

from thriftune.config import parse_parameters, with_credentials, without_password
from thriftune.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me@host/db"),
        ("postgresql://me:s3@cret@host:5432/db?a=b@c", "postgresql://me@host:5432/db?a=b@c"),
        ("postgresql://host/db?user=me&password=s3cret&x=1", "postgresql://host/db?user=me&password=&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """And refused in a parameter file where it had one."""
    assert without_password(url) == shown
    raw = {"tracking": {"mlflow_uri": url}}
    if url == shown:
        assert with_credentials(raw, {}, {}) == raw
    else:
        with pytest.raises(ConfigError, match="holds a password") as caught:
            with_credentials(raw, {}, {"tracking.mlflow_uri": "--params"})
        assert "s3" not in str(caught.value)


def test_credentials_are_used_and_not_recorded() -> None:
    """The parsed parameters have the URL, what is dumped of them has no password."""
    secrets = {"study_db": {"url": "postgresql://me:s3cret@host/db"}}
    parameters = parse_parameters(with_credentials({}, secrets, {}))
    assert parameters.tracking.optuna_url == "postgresql+psycopg://me:s3cret@host/db"
    for mode in ("python", "json"):
        assert "s3cret" not in str(parameters.model_dump(mode=mode))


@pytest.mark.parametrize("found", ["postgresql://host/db", {"uri": "x"}, {"url": 1}, {"url": "x", "more": 1}])
def test_credentials_of_another_form_are_refused(found: object) -> None:
    """With the form that is expected."""
    with pytest.raises(ConfigError, match="needs one key, url"):
        with_credentials({}, {"study_db": found}, {})
