"""Versions of packages are read as the Butler writes them, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.utils.packages import Packages

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.package_versions import told_of_run

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(versions=st.dictionaries(NAMES, NAMES | st.sampled_from(["", "1.0", "1e3", "yes", "null", "0x1"]), max_size=5))
def test_reads_what_the_butler_writes(versions: dict[str, str]) -> None:
    packages = Packages(versions)
    for extension, form in Packages.formats.items():
        written = packages.toBytes(form)
        assert told_of_run("r", f"a/b{extension}", written).packages == Packages.fromBytes(written, form) == versions
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert told_of_run("r", "p.pickle", pickle.dumps(packages, protocol)).packages == versions


def test_reads_what_older_ones_wrote() -> None:
    """A class that was elsewhere, with its versions in an attribute."""
    state = b"}X\x09\x00\x00\x00_packages}X\x01\x00\x00\x00aX\x01\x00\x00\x001ss"
    old = b"\x80\x03clsst.base.packages\nPackages\n)\x81" + state + b"b."
    assert told_of_run("r", "p.pkl", old).packages == {"a": "1"} == Packages.fromBytes(old, "pickle")
    old_tag = b"!<lsst.base.Packages>\na: '1'\n"
    assert told_of_run("r", "p.yaml", old_tag).packages == {"a": "1"} == Packages.fromBytes(old_tag, "yaml")


class _Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    for function, *arguments in ((os.mkdir, str(trap)), (eval, f"open({str(trap)!r}, 'w')"), (getattr, {}, "update")):
        for content in (_Evil(function, *arguments), {"numpy": _Evil(function, *arguments)}):
            written = pickle.dumps(content, protocol)
            with pytest.raises(InvalidSourceError, match="asks for more"):
                told_of_run("r", "p.pickle", written)
    assert not trap.exists()
    # Stock pickle would have done it.
    pickle.loads(pickle.dumps(_Evil(os.mkdir, str(trap)), protocol))  # noqa: S301
    assert trap.exists()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("p.yaml", b"!!python/object/apply:os.mkdir [trap]"),
        ("p.yaml", b"a: [1]"),
        ("p.yaml", b"- a"),
        ("p.yaml", b""),
        ("p.yaml", b"a: &a [*a]"),
        ("p.yaml", b"[" * 100_000),
        ("p.yaml", b"\xff\xfe\x00"),
        ("p.yaml", b"? [a]\n: 1"),
        ("p.json", b"[]"),
        ("p.json", b'{"a": 1}'),
        ("p.json", b'{"": "1"}'),
        ("p.pickle", b""),
        ("p.pickle", b"\x80\x04K\x01."),
        ("p.pickle", pickle.dumps({1: "1"})),
        ("p.pickle", pickle.dumps([("a", {"b": "c"})])),
        # It sets an attribute of the class, not of an object.
        ("p.pickle", b"\x80\x03clsst.base\nPackages\nN}X\x03\x00\x00\x00oddK\x01s\x86b."),
        ("p.txt", b"{}"),
        ("p", b"{}"),
        ("p.json", b'{"a": "' + b"x" * (1 << 20) + b'"}'),
    ],
)
def test_what_is_no_such_file_is_told(path: str, content: bytes) -> None:
    with pytest.raises(InvalidSourceError):
        told_of_run("r", path, content)
