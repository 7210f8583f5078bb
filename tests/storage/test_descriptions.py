"""Descriptions: which text is found for a name, what is wrong in files, and when they are read again."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Barrier

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from butlerql.storage.descriptions import Descriptions


def written(directory: Path, *texts: str) -> list[Path]:
    """Write files."""
    files = [directory / f"{number}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def read(*files: Path) -> Descriptions:
    """Read files that have nothing wrong in them."""
    descriptions = Descriptions(None, files)
    assert descriptions.refresh() == []
    return descriptions


def test_exact_names_win_over_globs_and_later_globs_over_earlier(tmp_path: Path) -> None:
    descriptions = read(*written(tmp_path, 'calexp: exact\n"cal*": first\n"*exp": |\n  last,\n  of two lines\n'))
    assert descriptions.of_dataset_type("calexp") == "exact"
    assert descriptions.of_dataset_type("calib") == "first"
    assert descriptions.of_dataset_type("cal_exp") == "last,\nof two lines"
    assert descriptions.of_dataset_type("calexp.wcs") == "first"
    assert descriptions.of_dataset_type("Calexp.wcs") is None


def test_later_files_win(tmp_path: Path) -> None:
    first, second, third = written(tmp_path, "a: 1st\nb: 1st\nc: 1st\n", '"[ab]": 2nd\n', "b: 3rd\n")
    descriptions = Descriptions(first, [second, third])
    assert descriptions.refresh() == []
    assert [descriptions.of_dataset_type(name) for name in "abcd"] == ["2nd", "3rd", "1st", None]


def test_storage_classes_are_apart(tmp_path: Path) -> None:
    descriptions = read(*written(tmp_path, 'ExposureF: a type\nstorageClasses:\n  ExposureF: a class\n  "Ex*": any\n'))
    assert descriptions.of_dataset_type("ExposureF") == "a type"
    assert descriptions.of_storage_class("ExposureF") == "a class"
    assert descriptions.of_storage_class("ExposureI") == "any"
    assert descriptions.of_dataset_type("ExposureI") is None


_NAMES = st.text("ab_.*?", min_size=1, max_size=4)


@given(files=st.lists(st.dictionaries(_NAMES, st.text("xyz", min_size=1, max_size=3), max_size=5), max_size=3))
def test_any_files(files: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """What comes of trying all entries in the order of their strength."""
    directory = tmp_path_factory.mktemp("files")
    quoted = [yaml.safe_dump(file, default_style='"', sort_keys=False) for file in files]
    descriptions = read(*written(directory, *quoted))
    for name in ("a", "b", "ab", "a.b", "_", "ab_a"):
        fitting = [
            (number, key == name, place, text)
            for number, file in enumerate(files)
            for place, (key, text) in enumerate(file.items())
            if key == name or fnmatchcase(name, key)
        ]
        assert descriptions.of_dataset_type(name) == (max(fitting)[-1] if fitting else None)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a: good\nb: [\n", 3, "not valid YAML"),
        ("a: good\n\nb: 7\n", 3, "'b' must be a text"),
        ("a: good\nb:\n", 2, "'b' must be a text"),
        ("a: good\nb: ' '\n", 2, "'b' must be a text"),
        ("a: good\nb: {c: d}\n", 2, "'b' must be a text"),
        ("a: bad\nb: good\na: good\n", 3, "'a' has a second description"),
        ("a: good\n? [b, c]\n: d\n", 2, "must be a name and a text"),
        ("a: good\nstorageClasses:\n  b: 1\n", 3, "'b' must be a text"),
        ("a: good\nstorageClasses:\n  storageClasses: {b: c}\n", 3, "must be a text"),
        ("# nothing\n- a\n", 2, "must hold `name: text` lines"),
        ("just words\n", 1, "must hold `name: text` lines"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, told: str, tmp_path: Path) -> None:
    """It takes nothing else with it: neither what is right in the file, if it is YAML, nor other files."""
    good, bad = written(tmp_path, "other: good\n", text)
    descriptions = Descriptions(None, [good, bad])
    (problem,) = descriptions.refresh()
    assert problem.startswith(f"{bad}, line {line}: ")
    assert told in problem
    assert descriptions.of_dataset_type("other") == "good"
    is_mapping = "valid YAML" not in told and "lines" not in told
    assert descriptions.of_dataset_type("a") == ("good" if is_mapping else None)
    assert descriptions.refresh() == []


@pytest.mark.parametrize("content", [b"a: \xff\n", b"a: \0\n", b"[" * 100_000, b"{" * 100_000, b"&a [*a]\n"])
def test_what_is_no_text_at_all(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    (problem,) = Descriptions(None, [file]).refresh()
    assert str(file) in problem


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A repository need not have one of its own; what a setting names must be there."""
    own, other = tmp_path / "own.yaml", tmp_path / "other.yaml"
    assert Descriptions(own, []).refresh() == []
    (problem,) = Descriptions(own, [other]).refresh()
    assert problem == f"{other} cannot be read: there is no such file."
    (problem,) = Descriptions(tmp_path, []).refresh()
    assert "Is a directory" in problem


def test_files_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    descriptions = Descriptions(own, [])
    assert descriptions.refresh() == []
    assert descriptions.of_dataset_type("a") is None
    own.write_text("a: first\n")
    assert descriptions.refresh() == []
    assert descriptions.of_dataset_type("a") == "first"
    own.write_text("a: other\n")
    os.utime(own, ns=(0, 0))
    assert descriptions.refresh() == []
    assert descriptions.of_dataset_type("a") == "other"
    own.write_text("a: [\n")
    assert len(descriptions.refresh()) == 1
    assert descriptions.of_dataset_type("a") is None
    own.unlink()
    assert descriptions.refresh() == []


def test_files_are_not_read_again_when_they_have_not(tmp_path: Path) -> None:
    """As far as time, size and identity tell."""
    (file,) = written(tmp_path, "a: first\n")
    os.utime(file, ns=(5, 5))
    descriptions = read(file)
    file.write_text("a: other\n")
    os.utime(file, ns=(5, 5))
    assert descriptions.refresh() == []
    assert descriptions.of_dataset_type("a") == "first"


def test_many_who_ask_at_once_are_told_once_what_is_wrong(tmp_path: Path) -> None:
    [file] = written(tmp_path, "calexp: [\n")
    descriptions, begin = Descriptions(None, [file]), Barrier(8)

    def refresh(_: int) -> list[str]:
        begin.wait()
        return descriptions.refresh()

    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            file.write_text(f"{file.read_text()}\n")
            told = [problem for problems in threads.map(refresh, range(8)) for problem in problems]
            assert len(told) == 1
