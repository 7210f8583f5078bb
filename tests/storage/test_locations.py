"""Paths and URIs are read as lsst.resources reads them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from lsst.daf.butler._location import LocationFactory
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.resources import ResourcePath

from butlerql.storage.locations import ArtifactRoot, absolute_uri, local_path

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12)
_PIECES = st.sampled_from(
    ["a", "calexp_HSC-R.fits", "..", ".", "", "~", "a b", "50%", "%41", "%2F", "é+", "x#y", "?q", "a;b", "$HOME", "#"]
)
_PATHS = st.lists(_PIECES | _NAMES, min_size=1, max_size=4).map("/".join)


def _record(path: str) -> StoredFileInfo:
    return StoredFileInfo("formatter", path, None, None, None, 0, storage_class_name="int")


def _expected(root: str, path: str) -> tuple[str, str | None] | None:
    """Return URI and local path as the Butler forms them, or None where it fails."""
    logging.getLogger("lsst.resources").setLevel(logging.ERROR)
    try:
        location = _record(path).file_location(LocationFactory(root))
        uri = location.uri
        assume(not _doubled(uri))
        return uri.geturl(), uri.ospath if uri.isLocal else None
    except (ValueError, RuntimeError, NotImplementedError, AttributeError):
        return None


def _doubled(uri: ResourcePath) -> bool:
    """Tell of a path that begins with two slashes: the Butler makes a wrong URI of it, we drop one."""
    return uri.isLocal and (uri.netloc != "" or uri.path.startswith("//"))


@pytest.mark.parametrize(
    "root", ["/data/repo", "file:///data/my%20repo/", "mem://host:8443/a/b/", "/dätä/100% #1/repo/"]
)
@given(path=_PATHS)
@example("HSC/runs/a/calexp.fits")
@example("a/b.zip#zip-path=12345678-calexp.fits")
@example("a/b.zip#unzip=calexp%20.fits")
@example("a b/b.zip#zip-path=é f.fits")
@example("file:///x/no%20te%2B0.json")
@example("file:///x/plain.json")
@example("/absolute/without scheme.fits")
@example("~/home.fits")
@example("a/../../b")
def test_artifacts_are_where_the_butler_looks(root: str, path: str) -> None:
    expected = _expected(root, path)
    if expected is not None:
        assert ArtifactRoot(ResourcePath(root, forceDirectory=True).geturl()).place(path) == expected


@pytest.mark.parametrize("root", ["file:///data/my%20repo/", "mem://host/a/"])
@given(paths=st.lists(_PATHS | st.sampled_from(["a/b.fits", "_c/d-e.yaml", "f.json/"])))
@example([])
@example(["a/b.fits", "c.yaml"])
@example(["a/b.fits\nc.yaml", "d.json"])
@example(["a/b.fits", "", "c.yaml"])
def test_many_artifacts_are_where_each_is(root: str, paths: list[str]) -> None:
    artifacts = ArtifactRoot(root)
    try:
        expected = [artifacts.place(path) for path in paths]
    except ValueError:
        return
    uris, local = artifacts.places(paths)
    assert list(zip(uris, local, strict=True)) == expected


@given(path=_PATHS)
@example("file:relative/a.yaml")
@example("file:///x/../y/a.yaml")
def test_absolute_uri(path: str) -> None:
    try:
        expected = ResourcePath(path)
    except (ValueError, NotImplementedError):
        return
    assume(not _doubled(expected) and not expected.params)
    uri = absolute_uri(path)
    assert uri == expected.geturl()
    assert local_path(uri) == (expected.ospath if expected.isLocal else None)


def test_variables_and_home_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOMEWHERE", str(tmp_path / "a b"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("$SOMEWHERE/x", "${SOMEWHERE}/x", "~/x", "x/$SOMEWHERE"):
        assert absolute_uri(text) == ResourcePath(text).geturl()
    assert absolute_uri("x", directory=os.fspath(tmp_path)) == f"file://{tmp_path}/x"
