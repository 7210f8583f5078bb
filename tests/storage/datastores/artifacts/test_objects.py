"""Objects, on a real server, compared with what another client says of them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from butlerql.storage.datastores.artifacts import objects
from butlerql.storage.datastores.artifacts.objects import ObjectStore
from butlerql.storage.datastores.artifacts.s3_access import Keys, s3_access
from butlerql.storage.datastores.artifacts.store import BLOCK, Kind, path_bytes
from butlerql.storage.datastores.artifacts.stores import open_store
from butlerql.storage.errors import UnavailableDatastoreError, UnreadableArtifactError
from tests.support.object_store import ObjectServer, run_object_server

_numbers = count()

NAMES = [
    "a b",
    "a-/c",
    "a/b",
    "a/sub/x",
    "a0",
    "%41",
    "a%2Fb",
    "#x",
    "a?b",
    "a+b&c",
    "é",
    "e\u0301",
    "~t",
    "{x}",
    "[x]",
    "\\",
    "'\"",
]
"""Without a newline, which this server does not take, and what the library does not: empty steps, and dots."""


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with run_object_server() as running:
        yield running


@pytest.fixture
def bucket(server: ObjectServer) -> str:
    """Make a bucket with objects below and beside a prefix."""
    name = f"bucket{next(_numbers)}"
    below = {f"root/{name}": name.encode() for name in NAMES}
    server.fill(name, {**below, "rootless": b"", "root.txt": b"", "other/a b": b"other"})
    return name


def store_of(server: ObjectServer, bucket: str, prefix: str = "root/") -> ObjectStore:
    return ObjectStore(f"s3://{bucket}/{prefix}", server.environ)


def test_listing(server: ObjectServer, bucket: str) -> None:
    store = store_of(server, bucket)
    entries = list(store.list())
    listed = server.client.list_objects_v2(Bucket=bucket, Prefix="root/")["Contents"]
    assert [(entry.path, entry.size) for entry in entries] == [(one["Key"][5:], one["Size"]) for one in listed]
    assert [entry.path for entry in entries] == sorted(NAMES, key=path_bytes)
    assert all(entry.kind is Kind.FILE for entry in entries)
    assert [entry.modified for entry in entries] == [int(one["LastModified"].timestamp()) * 10**9 for one in listed]
    assert list(store.stat([entry.path for entry in entries])) == entries
    for after in [*NAMES, "a", "a/", "a/sub/", "zzz"]:
        assert list(store.list(after)) == [one for one in entries if path_bytes(one.path) > path_bytes(after)]
    [first, second, *others] = entries
    assert first.size is not None and second.size is not None
    expected = {first.path: first.size, second.path: second.size + 1, "gone": 1}
    assert list(store.list("", expected)) == [second, *others]
    assert expected == {second.path: second.size + 1, "gone": 1}


def test_more_than_one_answer_holds(server: ObjectServer) -> None:
    name = f"bucket{next(_numbers)}"
    server.fill(name, {f"{number:05}": b"" for number in range(1_203)})
    assert [entry.path for entry in store_of(server, name, "").list()] == [f"{number:05}" for number in range(1_203)]


def test_looking_and_reading(server: ObjectServer, bucket: str) -> None:
    store = store_of(server, bucket)
    for name in NAMES:
        assert b"".join(store.read(name)) == name.encode()
    gone = ["nothing", "a", "a b/c", "surrogate\udcff"]
    assert [entry.kind for entry in store.stat(gone)] == [Kind.MISSING] * len(gone)
    for name in gone[:3]:
        with pytest.raises(FileNotFoundError):
            list(store.read(name))
    content = bytes(range(256)) * (BLOCK // 64)
    server.client.put_object(Bucket=bucket, Key="root/large", Body=content)
    blocks = list(store.read("large"))
    assert b"".join(blocks) == content and len(blocks) > 1


def test_names_that_cannot_be_asked_for_are_not_missing(server: ObjectServer, bucket: str) -> None:
    names = ["a//b", "./a", "a/../b"]
    assert [entry.kind for entry in store_of(server, bucket).stat(names)] == [Kind.UNREADABLE] * len(names)


def test_an_identity_is_of_one_content(server: ObjectServer, bucket: str) -> None:
    store = store_of(server, bucket)
    [before] = store.stat(["a0"])
    assert list(store.stat(["a0"])) == [before]
    server.client.put_object(Bucket=bucket, Key="root/a0", Body=b"0a")
    [after] = store.stat(["a0"])
    assert after.size == before.size and after.identity != before.identity


def test_without_its_bucket_nothing_is_missing(server: ObjectServer) -> None:
    """Of an object and of its bucket the server says the same when it is asked for the object."""
    store = store_of(server, "nobody")
    assert [(entry.kind, entry.problem) for entry in store.stat(["a", "b"])] == [(Kind.UNREADABLE, "404")] * 2
    with pytest.raises(UnreadableArtifactError, match="404"):
        store.list()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a server that answers everything with one status, or takes too long."""
    monkeypatch.setitem(objects._PATIENCE, "max_retries", 1)
    monkeypatch.setitem(objects._CLIENT, "timeout", "300ms")
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        status = 500

        def do_GET(self) -> None:
            if self.status == 0:
                over.wait(5)
                return
            self.send_response(self.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - as the base class calls it

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def answering(status: int) -> ObjectStore:
            Handler.status = status
            url = f"http://key:secret@127.0.0.1:{server.server_port}"
            return ObjectStore("s3://bucket/", {"S3_ENDPOINT_URL": url})

        yield answering
        over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "problem"), [(403, "403"), (401, "401"), (429, "429"), (500, "500"), (503, "503"), (0, "no answer")]
)
def test_what_the_server_does_not_tell_is_not_missing(broken: Any, status: int, problem: str) -> None:
    store = broken(status)
    assert [(entry.kind, entry.problem) for entry in store.stat(["a"])] == [(Kind.UNREADABLE, problem)]
    with pytest.raises(UnreadableArtifactError, match=problem):
        list(store.read("a"))
    with pytest.raises(UnreadableArtifactError, match=problem):
        list(store.list())


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(objects._PATIENCE, "max_retries", 0)
    store = ObjectStore("s3://bucket/", {"S3_ENDPOINT_URL": "http://key:secret@127.0.0.1:9"})
    assert [(entry.kind, entry.problem) for entry in store.stat(["a"])] == [(Kind.UNREADABLE, "no answer")]


def test_without_the_library_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UnavailableDatastoreError, match=r"pip install 'butlerql\[s3\]'"):
        open_store("s3://bucket/")


def test_what_there_is_no_way_to() -> None:
    for root in ("https://host/a/", "gs://bucket/", "dav://host/"):
        with pytest.raises(UnavailableDatastoreError, match=root):
            open_store(root)


def test_keys_of_a_profile_in_its_url(server: ObjectServer, bucket: str) -> None:
    environ = {
        "S3_ENDPOINT_URL": "http://127.0.0.1:9",
        "LSST_RESOURCES_S3_PROFILE_far": server.url.replace("http://", "http://tester:s3kr%2Ft%2B@"),
    }
    store = ObjectStore(f"s3://far@{bucket}/root/", environ)
    assert [entry.kind for entry in store.stat(["a b", "nothing"])] == [Kind.FILE, Kind.MISSING]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Write files of credentials as boto3 reads them."""
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = d\naws_secret_access_key = ds\n"
        "[far]\naws_access_key_id=f\naws_secret_access_key=fs\naws_session_token=ft\n"
    )
    (tmp_path / "config").write_text(
        "[default]\nregion = here\n[profile far]\nregion = there\ns3 =\n  max_concurrent_requests = 2\n"
        "[profile role]\nregion = x\n"
    )
    return {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_CONFIG_FILE": str(tmp_path / "config")}


VARIABLES = {"AWS_ACCESS_KEY_ID": "v", "AWS_SECRET_ACCESS_KEY": "vs"}
URL = "https://host:9000/path"
IN_URL = "https://u:us%2F@host:9000/path"
PROFILE = "LSST_RESOURCES_S3_PROFILE_far"


@pytest.mark.parametrize(
    ("profile", "more", "expected"),
    [
        (None, {}, (None, Keys("d", "ds"), "here")),
        (None, VARIABLES, (None, Keys("v", "vs"), "here")),
        (None, {"AWS_PROFILE": "far"}, (None, Keys("f", "fs", "ft"), "there")),
        (None, {"AWS_REGION": "r", "S3_ENDPOINT_URL": URL}, (URL, Keys("d", "ds"), "r")),
        (None, {**VARIABLES, "S3_ENDPOINT_URL": IN_URL}, (URL, Keys("u", "us/"), "here")),
        ("far", {**VARIABLES, "S3_ENDPOINT_URL": URL}, (URL, Keys("f", "fs", "ft"), "there")),
        ("far", {"S3_ENDPOINT_URL": "http://x", PROFILE: IN_URL}, (URL, Keys("u", "us/"), "there")),
        ("far", {"S3_ENDPOINT_URL": "http://x", PROFILE: ""}, ("http://x", Keys("f", "fs", "ft"), "there")),
    ],
)
def test_where_keys_come_from(files: dict[str, str], profile: str | None, more: dict[str, str], expected: Any) -> None:
    """As the Butler's own resource layer has it, of which the endpoints are compared."""
    environ = {**files, **more}
    assert s3_access(profile, environ) == expected
    s3utils = pytest.importorskip("lsst.resources.s3utils")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("S3_ENDPOINT_URL", PROFILE):
            patch.delenv(name, raising=False)
        for name, value in more.items():
            patch.setenv(name, value)
        theirs = s3utils._get_s3_connection_parameters(profile)
        assert theirs.endpoint_url == expected[0]
        if theirs.access_key_id is not None:
            assert (theirs.access_key_id, theirs.secret_access_key) == expected[1][:2]


@pytest.mark.parametrize(
    ("profile", "more"),
    [
        ("role", VARIABLES),
        ("nobody", VARIABLES),
        (None, {"S3_ENDPOINT_URL": "https://"}),
        (None, {"S3_ENDPOINT_URL": "https://host:s3cret/"}),
        (None, {"S3_ENDPOINT_URL": "https://s3cret@host/"}),
        (None, {"AWS_CONFIG_FILE": __file__}),
    ],
)
def test_access_that_makes_no_sense(files: dict[str, str], profile: str | None, more: dict[str, str]) -> None:
    with pytest.raises(UnavailableDatastoreError) as caught:
        s3_access(profile, {**files, **more})
    assert "s3cret" not in str(caught.value)
