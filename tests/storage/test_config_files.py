"""Configuration files are read and merged as lsst.daf.butler's Config does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.daf.butler import Config

from butlerql.storage.config_files import merged, read_mapping
from butlerql.storage.errors import InvalidConfigError

_KEYS = st.sampled_from(["a", "b", "c"])
_VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)
_MAPPINGS = st.dictionaries(_KEYS, _VALUES, max_size=3)


@given(under=_MAPPINGS, over=_MAPPINGS)
def test_one_is_laid_over_another(under: dict[str, Any], over: dict[str, Any]) -> None:
    expected = Config(under)
    expected.update(over)
    assert merged(under, over) == expected.toDict()


def _write(directory: Path, **files: str) -> Path:
    """Write files (``_`` in a name stands for a slash) and return the one called main."""
    for name, text in files.items():
        path = directory / f"{name.replace('_', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return directory / "main.yaml"


@pytest.mark.parametrize(
    "main",
    [
        "a: !include other.yaml",
        "a: !include [other.yaml, sub/deep.yaml]",
        "a: !include {x: other.yaml, y: sub/deep.yaml}",
        "a: {b: [1, !include sub/deep.yaml]}",
        "includeConfigs: other.yaml\na: {mine: 1}",
        "includeConfigs: [other.yaml, sub/deep.yaml]\nb: {mine: 1}",
        "x: {includeConfigs: other.yaml, b: {mine: 1, list: [0]}}",
        "includeConfigs: other.yaml\nb: {includeConfigs: sub/deep.yaml, mine: 1}",
        "includeConfigs: $SUB/deep.yaml",
        "",
        "{}",
        "a: &anchor {b: 1}\nc: {<<: *anchor, d: 2}",
    ],
)
def test_includes(main: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUB", "sub")
    file = _write(
        tmp_path,
        main=main,
        other="b: {theirs: 1, mine: 0, list: [1, 2]}\nc: !include sub/deep.yaml",
        sub_deep="deep: !include deeper.yaml\nb: {deep: 1}",
        sub_deeper="[1, 2, 3]",
    )
    assert read_mapping(file) == Config(str(file)).toDict()


def test_the_current_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "other.yaml").write_text("where: here")
    file = _write(tmp_path, main="includeConfigs: other.yaml", other="where: beside")
    assert read_mapping(file) == Config(str(file)).toDict() == {"where": "beside"}
    monkeypatch.chdir(tmp_path / "here")
    assert read_mapping(file) == Config(str(file)).toDict() == {"where": "here"}


def test_json(tmp_path: Path) -> None:
    content = {"a": {"b": [1, None]}, "ü": 1.5}
    file = tmp_path / "main.json"
    file.write_text(json.dumps(content))
    assert read_mapping(file) == Config(str(file)).toDict() == content


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("password: 'hush", "line 1"),
        ("a: 1\npassword: *hush", "line 2, column 11"),
        ("password: !hush x", "line 1, column 11"),
        ("- hush", "mapping"),
        ("hush", "mapping"),
        ("a: !include nowhere.yaml", "nowhere.yaml, which does not exist"),
        ("includeConfigs: nowhere.yaml", "nowhere.yaml, which does not exist"),
        ("includeConfigs: 1", "names of files"),
        ("a: !include 1.5", "does not exist"),
        ("a: !include main.yaml", "includes itself"),
        ("includeConfigs: main.yaml", "includes itself"),
        ("includeConfigs: s3://bucket/main.yaml", "not local"),
        ("includeConfigs: other.txt", "must end in"),
        ("password: \0hush", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_without_what_is_there(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "other.txt").touch()
    file = _write(tmp_path, main=text)
    with pytest.raises(InvalidConfigError, match=complaint) as caught:
        read_mapping(file)
    assert str(file) in str(caught.value) or "other.txt" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_includes_in_lists(tmp_path: Path) -> None:
    """The Butler fails here."""
    file = _write(tmp_path, main="x: [{includeConfigs: other.yaml, b: 1}, 2]", other="a: 1\nb: 2")
    assert read_mapping(file) == {"x": [{"a": 1, "b": 1}, 2]}


@pytest.mark.parametrize("content", [b'{"password": "hush', b'{"password": "\xff"}', b'["hush"]'], ids=range(3))
def test_wrong_json(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "main.json"
    file.write_bytes(content)
    with pytest.raises(InvalidConfigError) as caught:
        read_mapping(file)
    assert "hush" not in str(caught.value)
