"""Removing what is meant and nothing else, also where somebody comes in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from butlerql.storage.datastores.artifacts.conditional_delete import ConditionalDelete
from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.objects import ObjectStore
from butlerql.storage.datastores.artifacts.store import Ended, Identity, Removal, Removed
from butlerql.storage.errors import UnavailableDatastoreError, UnreadableArtifactError
from tests.support.object_store import ObjectServer, run_object_server

CLAIM = ".claim-1"
NAMES = [
    b"plain",
    b"a b",
    b"50%",
    b"%41",
    b"a#b",
    b"q?",
    b"new\nline",
    b"\xff\xfe",
    b"\xc3\xa9",
    b"e\xcc\x81",
    b"n" * 250,
]


def removal(store: LocalStore | ObjectStore, path: str) -> Removal:
    [entry] = store.stat([path])
    assert entry.identity is not None
    return Removal(path, entry.identity, CLAIM)


def removed(store: LocalStore | ObjectStore, meant: Removal) -> Ended:
    return store.claim(meant) or store.remove(meant)


def write(place: bytes, content: str = "x") -> None:
    with open(place, "w") as file:
        file.write(content)


def test_files_of_any_name(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/sub"
    os.mkdir(root)
    store = LocalStore(str(tmp_path))
    for name in NAMES:
        write(root + b"/" + name)
    for entry in list(store.list()):
        assert removed(store, removal(store, entry.path)) == (Removed.REMOVED, None)
    assert os.listdir(root) == []


def test_links_and_large_files(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "empty").touch()
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 5 << 30)
    store = LocalStore(str(tmp_path))
    for name in ("link", "dangling", "empty", "large"):
        [entry] = store.stat([name])
        assert removed(store, removal(store, name)) == (Removed.REMOVED, None), entry
    assert os.listdir(tmp_path) == ["target"]


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = LocalStore(str(tmp_path))
    gone = removal(store, "file")
    assert removed(store, gone) == (Removed.REMOVED, None)
    assert removed(store, gone) == (Removed.GONE, None)
    (tmp_path / "sub").touch()
    assert removed(store, gone._replace(path="sub/file")) == (Removed.GONE, None)


OTHERS: list[Callable[[Path], object]] = [
    lambda file: file.write_text("longer than before"),
    lambda file: (file.unlink(), file.write_text("y")),
    lambda file: (file.unlink(), file.mkdir()),
    lambda file: (file.unlink(), file.symlink_to("nowhere")),
    lambda file: (file.unlink(), os.mkfifo(file)),
    lambda file: os.utime(file, ns=(1, 1)),
]


@pytest.mark.parametrize("change", OTHERS)
def test_another_is_left(tmp_path: Path, change: Callable[[Path], object]) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    store = LocalStore(str(tmp_path))
    meant = removal(store, "file")
    change(file)
    before = store.stat(["file"])
    assert removed(store, meant)[0] is Removed.CHANGED
    assert store.stat(["file"]) == before
    assert os.listdir(tmp_path) == ["file"]


class _Meddled(LocalStore):
    """Lets somebody do something between the first look and the new name."""

    def __init__(self, directory: str, act: Callable[[], object]) -> None:
        super().__init__(directory)
        self._act: Callable[[], object] | None = act

    def _is_file(self, path: str, identity: Identity) -> bool:
        found = super()._is_file(path, identity)
        if self._act is not None and not path.endswith(CLAIM):
            act, self._act = self._act, None
            act()
        return found


def test_who_comes_in_between_loses_nothing(tmp_path: Path) -> None:
    """A file that takes the place after it was looked at gets its name back."""
    file = tmp_path / "file"
    file.write_text("old")
    meant = removal(LocalStore(str(tmp_path)), "file")

    def replace() -> None:
        (tmp_path / "new").write_text("new")
        (tmp_path / "new").rename(file)

    store = _Meddled(str(tmp_path), replace)
    assert removed(store, meant)[0] is Removed.CHANGED
    assert file.read_text() == "new" and os.listdir(tmp_path) == ["file"]


def test_going_on_after_a_crash(tmp_path: Path) -> None:
    """The new name tells how far it had come; what stands in the old place by then is somebody else's."""
    file, claim = tmp_path / "file", tmp_path / CLAIM
    store = LocalStore(str(tmp_path))
    for is_taken in (False, True):
        file.write_text("old")
        meant = removal(store, "file")
        file.rename(claim)
        if is_taken:
            file.write_text("new")
        assert removed(store, meant) == (Removed.REMOVED, None)
        assert os.listdir(tmp_path) == (["file"] if is_taken else [])
    file.write_text("old")
    meant = removal(store, "file")
    file.unlink()
    claim.write_text("renamed by mistake")
    assert removed(store, meant)[0] is Removed.CHANGED
    assert file.read_text() == "renamed by mistake" and not claim.exists()


@pytest.mark.parametrize("links", [True, False])
def test_putting_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Also where somebody may not link to it; if another has its name by now, nobody needs this one."""
    file, claim = tmp_path / "file", tmp_path / CLAIM
    store = LocalStore(str(tmp_path))
    file.write_text("old")
    meant = removal(store, "file")
    if not links:

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(1, "no")

        monkeypatch.setattr(os, "link", refuse)
    for is_claimed in (False, True):
        assert not is_claimed or (store.claim(meant) is None and not file.exists())
        assert store.put_back(meant) == (Removed.CHANGED, None)
        assert file.read_text() == "old" and not claim.exists()
    if links:
        # Somebody was killed in between.
        os.link(file, claim)
        assert store.put_back(meant) == (Removed.CHANGED, None)
        assert file.read_text() == "old" and not claim.exists()
    assert store.claim(meant) is None
    file.write_text("new")
    assert store.put_back(meant) == (Removed.REMOVED, None)
    assert file.read_text() == "new" and not claim.exists()


def test_what_is_written_to_after_it_was_claimed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    store = LocalStore(str(tmp_path))
    meant = removal(store, "file")
    with file.open("a") as writer:
        assert store.claim(meant) is None
        writer.write("more")
    assert store.remove(meant) == (Removed.CHANGED, "another file was in its place")
    assert file.read_text() == "oldmore" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["rename", "unlink"])
def test_what_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    store = LocalStore(str(tmp_path))
    meant = removal(store, "file")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        result, problem = removed(store, meant)
        assert result is Removed.FAILED and str(problem).startswith("EPERM")
    [left] = os.listdir(tmp_path)
    assert (tmp_path / left).read_text() == "old" and left in {"file", CLAIM}
    assert removed(store, meant) == (Removed.REMOVED, None)
    assert os.listdir(tmp_path) == []


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    store = LocalStore(str(tmp_path))
    assert removed(store, removal(store, "file")) == (Removed.FAILED, "not a file")
    assert (tmp_path / "file").is_dir()


def test_roots(tmp_path: Path) -> None:
    """One that was moved is the same; one that was made anew, is empty or not there is not."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    mark = LocalStore(str(root)).mark()
    root.rename(tmp_path / "moved")
    assert LocalStore(str(tmp_path / "moved")).mark() == mark
    with pytest.raises(UnreadableArtifactError, match="ENOENT"):
        LocalStore(str(root)).mark()
    root.mkdir()
    with pytest.raises(UnreadableArtifactError, match="empty"):
        LocalStore(str(root)).mark()
    (root / "file").touch()
    assert LocalStore(str(root)).mark() != mark


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with run_object_server() as running:
        yield running


_numbers = count()


@pytest.fixture
def bucket(server: ObjectServer) -> str:
    name = f"removal{next(_numbers)}"
    server.fill(name, {"root/a b#%é": b"x", "root/b": b"x", "b": b"outside"})
    return name


def objects_of(server: ObjectServer, bucket: str) -> set[str]:
    return {one["Key"] for one in server.client.list_objects_v2(Bucket=bucket).get("Contents", ())}


def test_objects(server: ObjectServer, bucket: str) -> None:
    store = ObjectStore(f"s3://{bucket}/root/", server.environ)
    assert store.removes_exactly()
    assert store.mark() == ()
    assert objects_of(server, bucket) == {"root/a b#%é", "root/b", "b"}
    meant = [removal(store, entry.path) for entry in store.list()]
    assert [removed(store, one) for one in meant] == [(Removed.REMOVED, None)] * 2
    assert [removed(store, one) for one in meant] == [(Removed.GONE, None)] * 2
    assert objects_of(server, bucket) == {"b"}
    # It might be another bucket of the same name.
    with pytest.raises(UnreadableArtifactError, match="empty"):
        store.mark()


def test_another_object_is_left(server: ObjectServer, bucket: str) -> None:
    """Both when it is seen before, and when the server alone sees it."""
    store = ObjectStore(f"s3://{bucket}/root/", server.environ)
    meant = removal(store, "b")
    server.client.put_object(Bucket=bucket, Key="root/b", Body=b"y")
    assert removed(store, meant)[0] is Removed.CHANGED
    [now] = store.stat(["b"])
    wrong: Identity = (meant.identity[0], *(now.identity or ())[1:])
    assert store._delete.delete("b", str(wrong[0])) == "412"
    assert objects_of(server, bucket) == {"root/a b#%é", "root/b", "b"}


def test_without_its_bucket_nothing_is_gone(server: ObjectServer) -> None:
    store = ObjectStore("s3://nobodys/", server.environ)
    meant = Removal("b", ('"x"', 1), CLAIM)
    assert removed(store, meant) == (Removed.FAILED, "404")
    with pytest.raises(UnreadableArtifactError):
        store.mark()
    with pytest.raises(UnavailableDatastoreError):
        store.removes_exactly()


def test_a_server_that_heeds_no_condition(server: ObjectServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found out, with nothing left behind."""
    store = ObjectStore(f"s3://{bucket}/root/", server.environ)
    delete = ConditionalDelete._client.func  # type: ignore[attr-defined]

    class Client:
        def __init__(self, made: Any) -> None:
            self._made = made

        def __getattr__(self, name: str) -> Any:
            return getattr(self._made, name)

        def delete_object(self, **named: Any) -> Any:
            named.pop("IfMatch", None)
            return self._made.delete_object(**named)

    monkeypatch.setitem(store._delete.__dict__, "_client", Client(delete(store._delete)))
    assert not store.removes_exactly()
    assert objects_of(server, bucket) == {"root/a b#%é", "root/b", "b"}
