"""The tree of datastores is the one that the real Butler builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lsst.daf.butler import Butler
from lsst.daf.butler.datastore import Datastore as ButlerDatastore
from lsst.daf.butler.datastores.chainedDatastore import ChainedDatastore as ButlerChain
from lsst.daf.butler.datastores.fileDatastore import FileDatastore as ButlerFileDatastore

from butlerql.storage.config import RepositoryConfig
from butlerql.storage.datastores.records import record_tables
from butlerql.storage.datastores.tree import (
    ChainedDatastore,
    Datastore,
    FileDatastore,
    InMemoryDatastore,
    build_datastores,
)
from butlerql.storage.errors import InvalidConfigError, UnknownDatastoreError, UnsupportedRepositoryError

_CLASSES = "lsst.daf.butler.datastores."
_MEMORY = {"cls": _CLASSES + "inMemoryDatastore.InMemoryDatastore"}


def _file(root: str, table: str, **more: Any) -> dict[str, Any]:
    return {"cls": _CLASSES + "fileDatastore.FileDatastore", "root": root, "records": {"table": table}, **more}


def _chain(*children: dict[str, Any]) -> dict[str, Any]:
    return {"cls": _CLASSES + "chainedDatastore.ChainedDatastore", "datastores": list(children)}


_NESTED = _chain(
    _MEMORY,
    _file("<butlerRoot>/one", "records_1"),
    {"datastore": _chain(_file("<butlerRoot>/two", "records_2", name="second", checksum=True), _MEMORY)},
    _file("<butlerRoot>/../three", "records_1", trust_get_request=True),
)
_TREES = {
    "the default": None,
    "one": _file("<butlerRoot>", "records"),
    "named": _file("<butlerRoot>/a b", "records", name="ours <butlerRoot>"),
    "chain": _chain(_file("<butlerRoot>/0", "r_0"), _file("<butlerRoot>/1", "r_1")),
    "nested": _NESTED,
    "memory": _MEMORY,
    "only memory": _chain(_MEMORY, _MEMORY),
}


def _describe(datastore: Datastore) -> Any:
    if isinstance(datastore, ChainedDatastore):
        return datastore.is_ephemeral, [_describe(child) for child in datastore.children]
    if isinstance(datastore, FileDatastore):
        return (
            datastore.name,
            datastore.is_ephemeral,
            datastore.root,
            datastore.root_uri,
            datastore.records_table,
            datastore.checksum,
            datastore.trust_get_request,
        )
    return datastore.name.partition("@")[0], datastore.is_ephemeral


def _describe_butler(datastore: ButlerDatastore) -> Any:
    if isinstance(datastore, ButlerChain):
        return datastore.isEphemeral, [_describe_butler(child) for child in datastore.datastores]
    if isinstance(datastore, ButlerFileDatastore):
        return (
            datastore.name,
            datastore.isEphemeral,
            datastore.root.ospath.rstrip("/"),
            datastore.root.geturl(),
            datastore._opaque_table_name,
            datastore.useChecksum,
            datastore.trustGetRequest,
        )
    return datastore.name.partition("@")[0], datastore.isEphemeral


@pytest.mark.parametrize("tree", _TREES.values(), ids=_TREES.keys())
@pytest.mark.parametrize("directory", ["repo", "50% ü #1/re po"])
def test_the_tree_of_the_butler(tree: dict[str, Any] | None, directory: str, tmp_path: Path) -> None:
    root = tmp_path / directory
    Butler.makeRepo(root)
    config = root / "butler.yaml"
    content = yaml.safe_load(config.read_text())
    content.pop("datastore")
    config.write_text(yaml.safe_dump(content | ({} if tree is None else {"datastore": tree})))
    with Butler.from_config(str(root), writeable=True) as butler:
        ours = build_datastores(RepositoryConfig.load(str(root)))
        assert _describe(ours) == _describe_butler(butler._datastore)
        if isinstance(ours, ChainedDatastore) and not ours.is_ephemeral and tree is not _NESTED:
            assert ours.name == butler._datastore.name


def _load(directory: Path, datastore: dict[str, Any]) -> Datastore:
    (directory / "butler.yaml").write_text(yaml.safe_dump({"datastore": datastore}))
    return build_datastores(RepositoryConfig.load(str(directory)))


def test_walking(tmp_path: Path) -> None:
    tree = _load(tmp_path, _NESTED)
    assert isinstance(tree, ChainedDatastore)
    inner = tree.children[2]
    assert isinstance(inner, ChainedDatastore)
    assert list(tree) == [tree, *tree.children[:3], *inner.children, tree.children[3]]
    assert list(tree.leaves) == [*tree.children[:2], *inner.children, tree.children[3]]
    assert tree.parent is None
    assert {child.parent for child in tree.children} == {tree}
    assert {child.parent for child in inner.children} == {inner}
    assert tree.find("second") is inner.children[0]
    assert tree.find(inner.name) is inner
    assert record_tables(tree) == ["records_1", "records_2"]
    assert record_tables(inner) == ["records_2"]
    assert record_tables(tree.children[0]) == []
    assert isinstance(tree.children[0], InMemoryDatastore)
    with pytest.raises(UnknownDatastoreError, match=r"no datastore 'third'.*'FileDatastore@<butlerRoot>/one'"):
        tree.find("third")


def test_remote_roots(tmp_path: Path) -> None:
    for root in ("s3://bucket/a%20b", "https://host/x", "gs://bucket/", "davs://host/x"):
        datastore = _load(tmp_path, _file(root, "records"))
        assert isinstance(datastore, FileDatastore)
        assert datastore.root == datastore.root_uri == root.rstrip("/") + "/"
        assert datastore.artifacts.place("c d.txt").path is None


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        ({"root": 1}, InvalidConfigError, "`root`"),
        ({"root": ""}, InvalidConfigError, "`root`"),
        ({"records": {"table": None}}, InvalidConfigError, r"`records\.table`"),
        ({"records": "x"}, InvalidConfigError, r"`records\.table`"),
        ({"name": 1}, InvalidConfigError, "`name`"),
        ({"root": "ftp://host/x"}, UnsupportedRepositoryError, "'ftp'"),
    ],
)
def test_wrong_datastores(change: dict[str, Any], error: type[Exception], problem: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=problem) as caught:
        _load(tmp_path, _file("<butlerRoot>", "records") | change)
    assert f"{tmp_path}/butler.yaml" in str(caught.value)
