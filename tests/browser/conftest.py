"""A real browser, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from butlerql.explorer import STATIC

HOW_TO_INSTALL = (
    "No Chromium was found, so the page is not tested. Install it with its driver "
    "(Debian: apt-get install chromium chromium-driver)."
)
HOW_TO_BUILD = "The explorer is not built, so the page is not tested. Build it: cd web && npm ci && npm run build."

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # Chromium must not look for Google's hosts by itself: no request may leave.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--window-size=1500,900",
)


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Open a browser of its own, that remembers every request and every line of its console."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        _missing(HOW_TO_INSTALL)
    if not (STATIC / "index.html").is_file():
        _missing(HOW_TO_BUILD)
    options = webdriver.ChromeOptions()
    options.binary_location = str(chromium)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Both programs are named, so that Selenium looks for none on the network.
    opened = webdriver.Chrome(options, webdriver.ChromeService(str(driver)))
    try:
        yield opened
    finally:
        opened.quit()
