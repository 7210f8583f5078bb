"""The explorer as a newcomer meets it: open the page, choose a query, see the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import presence_of_element_located
from selenium.webdriver.support.ui import WebDriverWait

from butlerql import demonstration
from butlerql.explorer import ready_made_queries
from tests.support.repositories import Content, Layout, Repositories
from tests.support.served import serving

DEMONSTRATION = Content("demonstration", demonstration.fill, lambda: dict(demonstration.CONFIG))
PATIENCE = 60


@pytest.fixture
def address(repositories: Repositories, tmp_path: Path) -> Iterator[str]:
    """Serve the demonstration repository under two labels."""
    repository = repositories.shared(DEMONSTRATION, Layout("sqlite"))
    with serving(f"first={repository.uri}", f"second={repository.uri}", log=tmp_path / "log") as address:
        yield address


def shown(browser: Chrome, part: str) -> str:
    """Read what the lines of an editor show; they hold no-break spaces."""
    return browser.find_element(By.CSS_SELECTOR, f"{part} .view-lines").text.replace("\N{NO-BREAK SPACE}", " ")


def log_of(browser: Chrome, kind: str) -> list[dict[str, Any]]:
    """Take what the browser has logged since it was asked last."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def complaints_of(browser: Chrome) -> list[str]:
    """List the warnings and errors in the console."""
    return [entry["message"] for entry in log_of(browser, "browser") if entry["level"] in ("WARNING", "SEVERE")]


def requests_of(browser: Chrome) -> list[str]:
    """List the addresses that the browser has asked since it was asked last."""
    messages = [json.loads(entry["message"])["message"] for entry in log_of(browser, "performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def test_a_newcomer_gets_an_answer(browser: Chrome, address: str) -> None:
    wait = WebDriverWait(browser, PATIENCE)
    browser.get(f"{address}/")
    assert browser.title == "ButlerQL"
    wait.until(presence_of_element_located((By.CSS_SELECTOR, ".graphiql-query-editor .view-line")))
    offered = browser.find_elements(By.CSS_SELECTOR, ".ready-made button")
    assert [button.find_element(By.TAG_NAME, "code").text for button in offered] == [
        ready["name"] for ready in ready_made_queries()
    ]

    wait.until(lambda _: "query Overview" in shown(browser, ".graphiql-query-editor"))
    browser.find_element(By.CSS_SELECTOR, ".graphiql-execute-button").click()
    wait.until(lambda _: "daf_butler" in shown(browser, ".graphiql-response"))
    assert "errors" not in shown(browser, ".graphiql-response")

    offered[1].click()
    wait.until(lambda _: "calexp" in shown(browser, ".graphiql-response"))
    assert "query DatasetTypesOfADataId" in shown(browser, ".graphiql-query-editor")
    tabs = browser.find_elements(By.CSS_SELECTOR, ".graphiql-tab")
    assert [tab.text.strip() for tab in tabs] == ["Overview", "DatasetTypesOfADataId"]

    browser.find_element(By.CSS_SELECTOR, "[aria-label='Show Documentation Explorer']").click()
    wait.until(presence_of_element_located((By.CSS_SELECTOR, ".graphiql-doc-explorer-content")))
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Show GraphiQL Explorer']").click()
    wait.until(lambda _: "findDataset" in browser.find_element(By.CSS_SELECTOR, ".graphiql-plugin").text)

    outside = [url for url in requests_of(browser) if url.startswith(("http", "ws")) and not url.startswith(address)]
    assert outside == []
    assert complaints_of(browser) == []


def test_the_editor_completes_and_the_keyboard_runs(browser: Chrome, address: str) -> None:
    wait = WebDriverWait(browser, PATIENCE)
    browser.get(f"{address}/?repository=second")
    assert wait.until(presence_of_element_located((By.CSS_SELECTOR, ".brand [aria-current]"))).text == "second"
    editor = wait.until(presence_of_element_located((By.CSS_SELECTOR, ".graphiql-query-editor .view-lines")))
    wait.until(lambda _: "query Overview" in shown(browser, ".graphiql-query-editor"))
    editor.click()
    keyboard = browser.switch_to.active_element
    keyboard.send_keys(Keys.CONTROL, "a")
    keyboard.send_keys("{{ repos")
    wait.until(lambda _: "repository" in browser.find_element(By.CSS_SELECTOR, ".suggest-widget").text)
    keyboard.send_keys(Keys.ESCAPE, Keys.CONTROL, "a")
    keyboard.send_keys("{ __typename ")
    keyboard.send_keys(Keys.CONTROL, Keys.ENTER)
    wait.until(lambda _: '"__typename": "Query"' in shown(browser, ".graphiql-response"))
    assert f"{address}/second/graphql" in requests_of(browser)
    assert complaints_of(browser) == []
