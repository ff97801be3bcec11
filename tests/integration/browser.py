"""A real browser without a window: Debian's Chromium, driven through its own driver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

DRIVER = shutil.which("chromedriver")
NEEDS = pytest.mark.skipif(DRIVER is None, reason="needs a browser: apt-get install chromium-driver")


@contextmanager
def browser(width: int = 1100, *, dark: bool = False) -> Iterator[Chrome]:
    """One that keeps what its console says; only files and loopback answer."""
    options = ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",  # tests may run as root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
        f"--window-size={width},1000",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        # A window without a frame is never narrower than 500 pixels.
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield driver
    finally:
        driver.quit()


def complaints(driver: Chrome) -> list[dict[str, Any]]:
    """What the console has above INFO, since it was last asked."""
    return [entry for entry in driver.get_log("browser") if entry["level"] not in ("DEBUG", "INFO")]


def address(page: Path) -> str:
    return page.resolve().as_uri()
