"""Thriftune: hyper-parameter search inside a byte budget, resumable to the same result."""

import os

__version__ = "0.1.0"

# The libraries read these when they are imported: nothing is sent that nobody asked for. Downloads from the
# hub go over plain HTTPS, where a cut one goes on where it was cut (Xet's client has retries of its own).
for _name in ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
