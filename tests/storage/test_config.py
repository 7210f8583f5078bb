"""Repositories are found, and their configurations merged, as ButlerConfig does it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lsst.daf.butler import ButlerConfig
from lsst.daf.butler.registry import RegistryConfig

from butlerql.storage.config import DatasetTypeOverride, RepositoryConfig
from butlerql.storage.errors import InvalidConfigError, NotARepositoryError, UnsupportedRepositoryError

_DATASTORES = "lsst.daf.butler.datastores."
_FILE, _MEMORY, _CHAIN = (
    f"{_DATASTORES}{module}.{name}"
    for module, name in (
        ("fileDatastore", "FileDatastore"),
        ("inMemoryDatastore", "InMemoryDatastore"),
        ("chainedDatastore", "ChainedDatastore"),
    )
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start without any of the variables that matter."""
    for name in ("CONFIG_PATH", "REPOSITORY_INDEX", "REPOSITORIES"):
        monkeypatch.delenv(f"DAF_BUTLER_{name}", raising=False)
    for name in ("LSST_DB_AUTH", "LSST_DB_AUTH_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def write(directory: Path, content: Mapping[str, Any] | None = None, name: str = "butler.yaml") -> str:
    """Write a configuration and return the directory."""
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content or {}))
    return str(directory)


# --------------------------------------------------------------------- merging


_ROOTS = st.sampled_from(["<butlerRoot>", "<butlerRoot>/sub", "/elsewhere/a b", "s3://bucket/x"])
_LEAF_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "root": _ROOTS,
    "name": st.sampled_from(["first", "second"]),
    "records": st.sampled_from(["t1", "t2"]).map(lambda table: {"table": table}),
    "checksum": st.booleans(),
    "trust_get_request": st.booleans(),
}
_LEAVES = st.fixed_dictionaries({}, optional={"cls": st.sampled_from([_FILE, _MEMORY]), **_LEAF_KEYS})


def _doubled(section: st.SearchStrategy[dict[str, Any]], key: str) -> st.SearchStrategy[dict[str, Any]]:
    return section | section.map(lambda inner: {key: inner})


def _chains(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"cls": st.just(_CHAIN), "datastores": st.lists(_doubled(children, "datastore"), min_size=1, max_size=3)}
    )


_TREES = st.recursive(_LEAVES, _chains, max_leaves=4)
_REGISTRIES = st.fixed_dictionaries(
    {},
    optional={
        "db": st.sampled_from(
            ["sqlite:///<butlerRoot>/other.sqlite3", "sqlite:////fixed/gen3.sqlite3", "postgresql://ann@host/db"]
        ),
        "namespace": st.sampled_from(["one", "two"]),
        "managers": st.fixed_dictionaries(
            {}, optional={"obscore": st.just("x.ObsCore"), "collections": st.sampled_from(["a.Name", "b.Synth"])}
        ),
        "host": st.just("host.example.org"),
        "username": st.just("bob"),
        "port": st.just(6432),
        "password": st.just("hush"),
    },
)
_STORAGE_CLASSES = st.dictionaries(
    st.sampled_from(["Mine", "ExposureF", "Yours"]),
    st.fixed_dictionaries(
        {}, optional={"pytype": st.sampled_from(["dict", "list"]), "derivedComponents": st.just({"n": "int"})}
    ),
)
_DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "datastore": _doubled(_TREES, "datastore"),
        "registry": _doubled(_REGISTRIES, "registry"),
        "storageClasses": _doubled(_STORAGE_CLASSES, "storageClasses"),
    },
)
_DEFAULTS = st.fixed_dictionaries(
    {},
    optional={
        "datastore.yaml": _doubled(_LEAVES, "datastore"),
        "datastores/fileDatastore.yaml": _doubled(st.fixed_dictionaries({}, optional=_LEAF_KEYS), "datastore"),
        "registry.yaml": _doubled(_REGISTRIES, "registry"),
        "storageClasses.yaml": _doubled(_STORAGE_CLASSES, "storageClasses"),
    },
)


def _tree(section: Mapping[str, Any]) -> Any:
    """Keep of a datastore's merged configuration what we read."""
    kind = str(section["cls"]).rpartition(".")[2]
    if kind == "ChainedDatastore":
        return [_tree(child) for child in section["datastores"]]
    if kind == "InMemoryDatastore":
        return kind
    return [section.get(key) for key in ("root", "name", "checksum", "trust_get_request")] + [
        section["records"]["table"]
    ]


@given(document=_DOCUMENTS, defaults=st.lists(_DEFAULTS, max_size=2))
def test_merging(document: dict[str, Any], defaults: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folders = [write(Path(name) / f"defaults{index}") for index in range(len(defaults))]
        for folder, files in zip(folders, defaults, strict=True):
            for file, content in files.items():
                write(Path(folder), content, file)
        if folders:
            patch.setenv("DAF_BUTLER_CONFIG_PATH", ":".join(folders))
        root = write(Path(name) / "repository", document)
        expected = ButlerConfig(root)
        registry = RegistryConfig(expected)
        registry.replaceRoot(root)
        url = registry.connectionString
        ours = RepositoryConfig.load(root)
    assert _tree(ours.datastore) == _tree(expected["datastore"].toDict())
    if url.get_backend_name() == "sqlite":
        assert sa.make_url(ours.registry_url).database == url.database
    else:
        assert sa.make_url(ours.registry_url).set(drivername="postgresql") == url
    assert ours.namespace == registry.get("namespace")
    assert ours.managers.items() <= registry["managers"].toDict().items()
    classes = expected["storageClasses"].toDict()
    for name, definition in ours.storage_classes.items():
        for key, value in definition.items():
            assert classes[name][key] == value or set(value) <= set(classes[name][key])


# --------------------------------------------------------------- finding it


def test_ways_to_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "re po")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERE", root)
    for uri in (root, f"{root}/", f"{root}/butler.yaml", "re po", "./re po/", Path(root).as_uri(), "$THERE"):
        config = RepositoryConfig.load(uri)
        assert (config.name, config.root, config.file) == ("re po", root, f"{root}/butler.yaml")
        assert sa.make_url(config.registry_url).database == f"{root}/gen3.sqlite3"
        directory = ButlerConfig(uri).configDir
        assert directory is not None and directory.ospath == f"{root}/"


def test_another_file(tmp_path: Path) -> None:
    write(tmp_path, {"registry": {"namespace": "mine"}}, "other.yaml")
    assert RepositoryConfig.load(f"{tmp_path}/other.yaml").namespace == "mine"
    (tmp_path / "other.json").write_text('{"registry": {"namespace": "json"}}')
    assert RepositoryConfig.load(f"{tmp_path}/other.json").namespace == "json"


@pytest.mark.parametrize("inline", [False, True])
def test_labels(inline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "repository", {"registry": {"namespace": "by label"}})
    write(tmp_path / "both", {"registry": {"namespace": "by path"}})
    index = {"main": root, "/repo/file": f"{root}/butler.yaml", "both": Path(root).as_uri()}
    if inline:
        monkeypatch.setenv("DAF_BUTLER_REPOSITORIES", yaml.safe_dump(index))
    else:
        write(tmp_path, index, "index.yaml")
        monkeypatch.setenv("DAF_BUTLER_REPOSITORY_INDEX", str(tmp_path / "index.yaml"))
    monkeypatch.chdir(tmp_path)
    for label in index:
        config = RepositoryConfig.load(label)
        assert (config.name, config.namespace) == (label, "by label")
        assert ButlerConfig(label)["registry", "namespace"] == "by label"
    assert RepositoryConfig.load("./both").namespace == "by path"
    with pytest.raises(NotARepositoryError, match="Known labels: /repo/file, both, main"):
        RepositoryConfig.load("mian")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "There is no repository index"),
        ({"REPOSITORY_INDEX": "/nowhere/index.yaml"}, "/nowhere/index.yaml .* does not exist"),
        ({"REPOSITORY_INDEX": "/nowhere/index.yaml", "REPOSITORIES": "{a: b}"}, "Only one of"),
        ({"REPOSITORIES": "a: {b: c}"}, "flat mapping"),
        ({"REPOSITORIES": "a: ["}, "valid YAML"),
        ({"REPOSITORY_INDEX": "s3://bucket/index.yaml"}, "not a local file"),
    ],
)
def test_trouble_with_the_index(
    variables: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"DAF_BUTLER_{name}", value)
    root = write(tmp_path / "repository")
    assert RepositoryConfig.load(root).root == root
    assert ButlerConfig(root)
    with pytest.raises(NotARepositoryError, match=reason):
        RepositoryConfig.load("main")


@pytest.mark.parametrize(
    "uri", ["/nowhere", "/nowhere/", "/nowhere/butler.yaml", "label", "", "a\0b", "/etc/passwd/x.yaml", "x" * 5000]
)
def test_not_a_repository(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotARepositoryError):
        RepositoryConfig.load(uri)


def test_a_directory_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(NotARepositoryError, match=r"butler\.yaml does not exist"):
        RepositoryConfig.load(str(tmp_path))


# ----------------------------------------------------------------------- root


@pytest.mark.parametrize("root", ["/moved/there", "file:///moved/th%20ere/", "s3://bucket/repo/"])
def test_root(root: str, tmp_path: Path) -> None:
    here = write(tmp_path / "here", {"root": root, "registry": {"db": "postgresql://ann@host/db"}})
    config = RepositoryConfig.load(here)
    assert config.root == {"file:///moved/th%20ere/": "/moved/th ere", "s3://bucket/repo/": "s3://bucket/repo"}.get(
        root, root
    )


def test_sqlite_needs_a_local_root(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"`registry\.db` cannot be below s3://bucket/repo"):
        RepositoryConfig.load(write(tmp_path, {"root": "s3://bucket/repo"}))


@pytest.mark.parametrize("name", ["50%", "a#b", "%41", "ü µ", "q?x=1", "[::1]"])
def test_roots_with_odd_names(name: str, tmp_path: Path) -> None:
    """The Butler opens no registry below some of these; we do."""
    root = write(tmp_path / "x" / name / "repository")
    config = RepositoryConfig.load(Path(root).as_uri())
    assert config.root == root
    assert sa.make_url(config.registry_url).database == f"{root}/gen3.sqlite3"


# ------------------------------------------------------------------- registry


def test_dataset_type_overrides(tmp_path: Path) -> None:
    overrides = {"bias": {"rename": "old_bias"}, "tbl": {"storageClass": "ArrowAstropy"}}
    managers = {"datasets": {"cls": "a.B", "config": {"overrides": overrides}}, "collections": "c.D", "obscore": None}
    config = RepositoryConfig.load(write(tmp_path, {"registry": {"managers": managers}}))
    assert config.managers == {"datasets": "a.B", "collections": "c.D"}
    assert config.dataset_type_overrides == {
        "bias": DatasetTypeOverride("old_bias", None),
        "tbl": DatasetTypeOverride(None, "ArrowAstropy"),
    }


def test_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSST_DB_AUTH_CREDENTIALS", '[{"url": "postgresql://*", "username": "u", "password": "hu@sh"}]')
    db = "postgresql+psycopg2://host:6432/db?sslmode=require&application_name=x"
    config = RepositoryConfig.load(write(tmp_path, {"registry": {"db": db, "namespace": "n"}}))
    assert config.registry_url == "postgresql+asyncpg://u:hu%40sh@host:6432/db?ssl=require"
    assert config.namespace == "n"
    assert "hu" not in repr(config).replace(str(tmp_path), "")


def test_parts_of_the_url_beside_it(tmp_path: Path) -> None:
    registry = {"db": "postgresql://", "host": "h", "port": "6432", "database": "d", "username": "u", "password": 12}
    config = RepositoryConfig.load(write(tmp_path, {"registry": registry}))
    assert config.registry_url == "postgresql+asyncpg://u:12@h:6432/d"


# --------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"registry": "hush"}, "registry"),
        ({"registry": {"db": 1}}, "registry.db"),
        ({"registry": {"db": "hush"}}, "registry.db"),
        ({"registry": {"db": "sqlite://"}}, "registry.db"),
        ({"registry": {"port": "hush"}}, "registry.port"),
        ({"registry": {"username": ["hush"]}}, "registry.username"),
        ({"registry": {"namespace": ["hush"]}}, "registry.namespace"),
        ({"registry": {"managers": "hush"}}, "registry.managers"),
        ({"registry": {"managers": {"datasets": {"config": {}}}}}, "registry.managers.datasets"),
        ({"registry": {"managers": {"datasets": {"cls": "a", "config": "hush"}}}}, "registry.managers.datasets.config"),
        ({"registry": {"managers": {"datasets": {"cls": "a", "config": {"overrides": "hush"}}}}}, "overrides"),
        ({"registry": {"managers": {"datasets": {"cls": "a", "config": {"overrides": {"b": 1}}}}}}, "overrides.b"),
        ({"root": 1}, "root"),
        ({"root": ""}, "root"),
        ({"datastore": ["hush"]}, "datastore"),
        ({"datastore": {"cls": _CHAIN}}, "datastore.datastores"),
        ({"datastore": {"cls": _CHAIN, "datastores": ["hush"]}}, "datastore.datastores"),
        ({"storageClasses": ["hush"]}, "storageClasses"),
    ],
)
def test_wrong_values(content: dict[str, Any], key: str, tmp_path: Path) -> None:
    root = write(tmp_path, content)
    with pytest.raises(InvalidConfigError) as caught:
        RepositoryConfig.load(root)
    message = str(caught.value)
    assert f"{root}/butler.yaml" in message
    assert f"{key}`" in message
    assert "hush" not in message.replace(root, "")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"cls": "lsst.daf.butler.remote_butler.RemoteButler"}, "remote Butler server"),
        ({"cls": "my.OwnButler"}, "OwnButler"),
        ({"datastore": {"cls": "my.OwnDatastore"}}, "OwnDatastore"),
        ({"datastore": {"cls": _CHAIN, "datastores": [{"cls": "my.OwnDatastore"}]}}, "OwnDatastore"),
        ({"registry": {"db": "oracle://host/db"}}, "oracle"),
        ({"registry": {"db": "postgresql://host/db?options=-csearch_path%3Dx"}}, "options"),
    ],
)
def test_what_is_not_supported(content: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedRepositoryError, match=what):
        RepositoryConfig.load(write(tmp_path, content))


@pytest.mark.parametrize("uri", ["s3://bucket/repo", "https://host/repo/butler.yaml", "gs://bucket/repo"])
def test_remote_configurations(uri: str) -> None:
    with pytest.raises(UnsupportedRepositoryError, match="local files only"):
        RepositoryConfig.load(uri)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InvalidConfigError, match="must end in"):
        RepositoryConfig.load(str(tmp_path / "notes.txt"))
