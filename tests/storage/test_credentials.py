"""Credentials are found as lsst.utils.db_auth finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lsst.utils.db_auth import DbAuth, DbAuthError, DbAuthNotFoundError

from butlerql.storage.credentials import with_credentials
from butlerql.storage.errors import InvalidConfigError

_NAMES = st.sampled_from(["ann", "bob", "db", "db.example.org", "DB.example.org", "x"])
_PORTS = st.none() | st.sampled_from([5432, 6432])
_URLS = st.builds(
    sa.URL.create,
    st.sampled_from(["postgresql", "postgresql+psycopg2", "oracle"]),
    username=st.none() | _NAMES,
    password=st.none() | st.just("in the URL"),
    host=_NAMES,
    port=_PORTS,
    database=_NAMES,
)
_PATTERNS = st.sampled_from(["*", "db*", "d?", "*.example.org", "db.example.org", "DB.example.org", "", "x"])


@st.composite
def _entries(draw: st.DrawFn) -> dict[str, Any]:
    user, port, database = draw(st.none() | _NAMES), draw(_PORTS), draw(st.none() | _PATTERNS)
    url = draw(st.sampled_from(["postgresql", "oracle", "postgresql+psycopg2", ""])) + "://"
    url += ("" if user is None else f"{user}@") + draw(_PATTERNS)
    url += ("" if port is None else f":{port}") + ("" if database is None else f"/{database}")
    entry = {"url": url, "username": draw(_NAMES), "password": draw(st.sampled_from(["hush", "p@ss:/wörd", 12345]))}
    for key in draw(st.sets(st.sampled_from(["username", "url"]), max_size=1)):
        del entry[key]
    return entry


def _expected(url: sa.URL, entries: list[dict[str, Any]]) -> sa.URL | None:
    """Return the URL as the Butler completes it, or None where it fails."""
    try:
        username, password = DbAuth(authList=entries).getAuth(
            url.drivername, url.username, url.host, url.port, url.database
        )
    except DbAuthNotFoundError:
        return url
    except DbAuthError:
        return None
    return url.set(username=username, password=str(password))


@given(url=_URLS, entries=st.lists(_entries(), max_size=3))
def test_the_first_entry_that_fits(url: sa.URL, entries: list[dict[str, Any]]) -> None:
    expected = _expected(url, entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSST_DB_AUTH_CREDENTIALS", json.dumps(entries))
        if expected is not None:
            assert with_credentials(url) == expected
        else:
            with pytest.raises(InvalidConfigError) as caught:
                with_credentials(url)
            assert "hush" not in str(caught.value)


_URL = sa.make_url("postgresql://db.example.org/butler")
_ENTRY = {"url": "postgresql://db.example.org", "username": "ann", "password": "hush"}


def _file(path: Path, content: Any = (_ENTRY,), mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(list(content)))
    path.chmod(mode)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start without any credentials, in an empty home."""
    monkeypatch.delenv("LSST_DB_AUTH", raising=False)
    monkeypatch.delenv("LSST_DB_AUTH_CREDENTIALS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_no_list() -> None:
    assert with_credentials(_URL) == _URL


def test_the_file_at_home(home: Path) -> None:
    _file(home / ".lsst" / "db-auth.yaml")
    assert with_credentials(_URL).password == "hush"


def test_another_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(home / ".lsst" / "db-auth.yaml")
    monkeypatch.setenv("LSST_DB_AUTH", str(_file(home / "other.yaml", [{**_ENTRY, "password": "other"}])))
    assert with_credentials(_URL).password == "other"
    monkeypatch.setenv("LSST_DB_AUTH", str(home / "nowhere.yaml"))
    assert with_credentials(_URL) == _URL


def test_the_variable_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(home / ".lsst" / "db-auth.yaml")
    monkeypatch.setenv("LSST_DB_AUTH_CREDENTIALS", json.dumps([{**_ENTRY, "password": "inline"}]))
    assert with_credentials(_URL).password == "inline"
    monkeypatch.setenv("LSST_DB_AUTH_CREDENTIALS", "")
    assert with_credentials(_URL).password == "hush"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_file_that_others_may_read(home: Path, mode: int) -> None:
    file = _file(home / ".lsst" / "db-auth.yaml", mode=mode)
    with pytest.raises(InvalidConfigError, match=f"chmod 600 {file}"):
        with_credentials(_URL)


@pytest.mark.parametrize("url", ["sqlite:////a/b", "postgresql:///butler", "postgresql://db.example.org"])
def test_what_needs_no_credentials(home: Path, url: str) -> None:
    _file(home / ".lsst" / "db-auth.yaml", mode=0o666)
    assert with_credentials(sa.make_url(url)) == sa.make_url(url)


@pytest.mark.parametrize(
    "content",
    [["hush"], [{"url": 1, "password": "hush"}], [{**_ENTRY, "password": [12345]}], [{"url": "postgresql://:x"}]],
)
def test_malformed_entries(home: Path, content: list[Any]) -> None:
    _file(home / ".lsst" / "db-auth.yaml", content)
    with pytest.raises(InvalidConfigError, match="entry 1") as caught:
        with_credentials(_URL)
    assert "hush" not in str(caught.value) and "12345" not in str(caught.value)


@pytest.mark.parametrize("text", ["password: [hush", "hush", "{}"], ids=range(3))
def test_malformed_lists(home: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(home / ".lsst" / "db-auth.yaml")
    file.write_text(text)
    with pytest.raises(InvalidConfigError) as from_file:
        with_credentials(_URL)
    monkeypatch.setenv("LSST_DB_AUTH_CREDENTIALS", text)
    with pytest.raises(InvalidConfigError) as inline:
        with_credentials(_URL)
    assert "hush" not in f"{from_file.value}{inline.value}"
