"""Directories of a file system, compared with what the operating system's own functions say of them."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butlerql.storage.datastores.artifacts import local
from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.store import BLOCK, Entry, Kind, path_bytes, path_text
from butlerql.storage.errors import UnreadableArtifactError

NAMES = st.one_of(
    st.sampled_from(
        [b"a", b"a b", b"a-", b"a.fits", b"a0", b"new\nline", b"%2F", b"#x", b"\xff\xfe", b"\xc3\xa9", b"e\xcc\x81"]
    ),
    st.binary(min_size=1, max_size=6),
).filter(lambda name: not {0, ord("/")} & set(name) and name not in (b".", b".."))
TREES = st.recursive(
    st.binary(max_size=9), lambda below: st.dictionaries(NAMES, below, max_size=5), max_leaves=25
).filter(lambda tree: isinstance(tree, dict))


def plant(tree: Any, place: bytes) -> None:
    if isinstance(tree, bytes):
        with open(place, "wb") as file:
            file.write(tree)
        return
    os.makedirs(place, exist_ok=True)
    for name, below in tree.items():
        plant(below, place + b"/" + name)


def files_below(place: bytes) -> list[str]:
    found = [
        os.path.relpath(os.path.join(directory, name), place)
        for directory, _, names in os.walk(place)
        for name in names
    ]
    return [path_text(path) for path in sorted(found)]


@given(tree=TREES)
def test_listing(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All files, each once, in the order of their bytes, and what looking at each tells; from wherever one begins."""
    root = os.fsencode(tmp_path_factory.mktemp("tree"))
    plant(tree, root)
    store = LocalStore(os.fsdecode(root))
    entries = list(store.list())
    paths = [entry.path for entry in entries]
    assert paths == files_below(root)
    assert list(store.stat(paths)) == entries
    for entry in entries:
        content = b"".join(store.read(entry.path))
        status = os.stat(root + b"/" + path_bytes(entry.path))
        assert (entry.kind, entry.size, entry.modified) == (Kind.FILE, len(content), status.st_mtime_ns)
    for after in [*paths, "a", "a/", "a/b", "a0", path_text(b"\xff")]:
        assert list(store.list(after)) == [entry for entry in entries if path_bytes(entry.path) > path_bytes(after)]


@given(tree=TREES, data=st.data())
def test_what_is_expected_is_left_out(tree: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = os.fsencode(tmp_path_factory.mktemp("tree"))
    plant(tree, root)
    os.symlink(b"nowhere", root + b"/dangling")
    os.makedirs(root + b"/directory/below")
    os.symlink(b"directory", root + b"/link")
    entries = list(LocalStore(os.fsdecode(root)).list())
    paths = [entry.path for entry in entries]
    after = data.draw(st.sampled_from(["", *paths]))
    wanted = st.sampled_from([*paths, "directory", "gone", "link"])
    sizes = data.draw(
        st.dictionaries(wanted.filter(lambda path: path_bytes(path) > path_bytes(after)), st.integers(-1, 9))
    )
    is_expected = {entry.path for entry in entries if entry.size is not None and sizes.get(entry.path) == entry.size}
    left = sizes.copy()
    listed = list(LocalStore(os.fsdecode(root)).list(after, left))
    behind = [entry for entry in entries if path_bytes(entry.path) > path_bytes(after)]
    assert listed == [entry for entry in behind if entry.path not in is_expected]
    assert left == {path: size for path, size in sizes.items() if path not in is_expected}


def test_a_tree_may_be_deeper_than_calls_of_python(tmp_path: Path) -> None:
    place = str(tmp_path / "deep")
    for _ in range(1_200):
        os.mkdir(place)
        place += "/d"
    Path(place).write_bytes(b"")
    try:
        assert [entry.path for entry in LocalStore(str(tmp_path)).list()] == ["deep" + "/d" * 1_200]
    finally:
        # Python's own way to remove a tree calls itself.
        subprocess.run(["rm", "-r", str(tmp_path / "deep")], check=True)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Give a directory with everything that may stand where a file should."""
    (tmp_path / "directory" / "deep").mkdir(parents=True)
    (tmp_path / "directory" / "deep" / "file").write_bytes(b"deep")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "to_directory").symlink_to("directory")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "dangling_below").symlink_to("file/below")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "circle").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


KINDS = {
    "circle": Kind.DIRECTORY,
    "dangling": Kind.DANGLING,
    "dangling_below": Kind.DANGLING,
    "directory": Kind.DIRECTORY,
    "directory/deep/file": Kind.FILE,
    "file": Kind.FILE,
    "file/below": Kind.MISSING,
    "link": Kind.FILE,
    "loop": Kind.DANGLING,
    "nothing": Kind.MISSING,
    "nul\0": Kind.MISSING,
    "pipe": Kind.OTHER,
    "surrogate\ud800": Kind.MISSING,
    "to_directory": Kind.DIRECTORY,
    "to_directory/deep/file": Kind.FILE,
}


def test_what_stands_where_a_file_should(odd: Path) -> None:
    store = LocalStore(str(odd))
    assert {entry.path: entry.kind for entry in store.stat(list(KINDS))} == KINDS
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(odd / "socket"))
        assert store.stat(["socket"])[0].kind is Kind.OTHER
    for path, kind in KINDS.items():
        if kind is Kind.FILE:
            assert b"".join(store.read(path)) == (odd / path).read_bytes()
        elif kind in (Kind.MISSING, Kind.DANGLING):
            with pytest.raises(FileNotFoundError):
                list(store.read(path))
        else:
            with pytest.raises(UnreadableArtifactError):
                list(store.read(path))


def test_links_are_not_followed_into_directories(odd: Path) -> None:
    listed = {entry.path: entry.kind for entry in LocalStore(str(odd)).list()}
    assert listed == {
        "circle/": Kind.DIRECTORY,
        "dangling": Kind.DANGLING,
        "dangling_below": Kind.DANGLING,
        "directory/deep/file": Kind.FILE,
        "file": Kind.FILE,
        "link": Kind.FILE,
        "loop": Kind.DANGLING,
        "pipe": Kind.OTHER,
        "to_directory/": Kind.DIRECTORY,
    }


def test_a_link_tells_the_size_of_its_file(odd: Path) -> None:
    link, file = LocalStore(str(odd)).stat(["link", "file"])
    assert link.size == file.size == 5
    assert link.identity != file.identity


def test_an_identity_is_of_one_content(odd: Path) -> None:
    store = LocalStore(str(odd))

    def identities() -> list[str | None]:
        return [entry.identity for entry in store.stat(["file", "link"])]

    before = identities()
    assert identities() == before
    replacement = odd / "replacement"
    replacement.write_bytes(b"54321")
    status = os.stat(odd / "file")
    os.utime(replacement, ns=(status.st_atime_ns, status.st_mtime_ns))
    replacement.rename(odd / "file")
    replaced = identities()
    assert all(one != other for one, other in zip(before, replaced, strict=True))
    with open(odd / "file", "r+b") as file:
        file.write(b"abcde")
    assert all(one != other for one, other in zip(replaced, identities(), strict=True))


def test_large_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(5 << 30)
    (tmp_path / "blocks").write_bytes(b"x" * (BLOCK + 1))
    store = LocalStore(str(tmp_path))
    assert [entry.size for entry in store.stat(["empty", "sparse", "blocks"])] == [0, 5 << 30, BLOCK + 1]
    assert list(store.read("empty")) == []
    assert [len(block) for block in store.read("blocks")] == [BLOCK, 1]


def place_of(path: bytes | int) -> bytes:
    """Return the path of what a call is given, also where that is the number of an open directory."""
    return path if isinstance(path, bytes) else os.readlink(b"/proc/self/fd/%d" % path) + b"/"


class Faults:
    """Makes the system's calls for some paths fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def fail(self, call: str, name: str, number: int) -> None:
        """Let a call of `os` fail for paths, and directories that are open, that end with a name."""
        real = getattr(os, call)

        def failing(path: Any, *arguments: Any, **options: Any) -> Any:
            if place_of(path).endswith(name.encode()):
                raise OSError(number, os.strerror(number))
            return real(path, *arguments, **options)

        self._patch.setattr(local.os, call, failing)


@pytest.fixture
def faults() -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch:
        yield Faults(patch)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENAMETOOLONG])
@pytest.mark.parametrize(
    ("call", "name"),
    [("lstat", "/file"), ("stat", "/link"), ("scandir", "/deep/"), ("open", "/deep/"), ("open", "/file")],
)
def test_what_cannot_be_looked_at_is_not_missing(odd: Path, faults: Faults, call: str, name: str, number: int) -> None:
    """Of what fails it is said that it cannot be read, and why; of all else the truth."""
    store = LocalStore(str(odd))
    problem = errno.errorcode[number]
    listed, seen = list(store.list()), store.stat(list(KINDS))
    faults.fail(call, name, number)
    if name == "/deep/":
        unread = Entry("directory/deep/", Kind.UNREADABLE, problem=problem)
        assert list(store.list()) == [unread if entry.path == "directory/deep/file" else entry for entry in listed]
    elif call == "open":
        with pytest.raises(UnreadableArtifactError, match=problem):
            list(store.read("file"))
    else:
        for found, before in ((store.stat(list(KINDS)), seen), (store.list(), listed)):
            expected = [
                Entry(entry.path, Kind.UNREADABLE, problem=problem) if f"/{entry.path}".endswith(name) else entry
                for entry in before
            ]
            assert list(found) == expected != before


def test_a_directory_that_breaks_off_half_way_is_unread(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of it until then says nothing of what else is in it."""
    real = os.scandir

    class Half:
        def __init__(self, directory: int) -> None:
            self._place, self._inner = place_of(directory), real(directory)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            self._inner.close()

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            yield from islice(self._inner, 1)
            if self._place.endswith(b"/many/"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield from self._inner

    (odd / "many").mkdir()
    for name in "abc":
        (odd / "many" / name).write_bytes(b"")
    monkeypatch.setattr(local.os, "scandir", Half)
    entries = [entry for entry in LocalStore(str(odd)).list() if entry.path.startswith("many")]
    assert entries == [Entry("many/", Kind.UNREADABLE, problem="EIO")]


def test_without_its_root_nothing_is_missing(tmp_path: Path) -> None:
    """A mount that went away says nothing of what is on it."""
    for gone in (tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").write_bytes(b"")
        store = LocalStore(str(gone))
        assert [entry.kind for entry in store.stat(["a", "b/c"])] == [Kind.UNREADABLE] * 2
        with pytest.raises(UnreadableArtifactError):
            store.list()


def test_the_root_as_a_uri(tmp_path: Path) -> None:
    assert LocalStore("/").root == "file:///"
    assert LocalStore("/data/a b#/").root == "file:///data/a%20b%23/"
    assert LocalStore("/").stat([str(tmp_path)[1:]])[0].kind is Kind.DIRECTORY
