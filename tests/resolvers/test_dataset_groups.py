"""Figures of connections of datasets through GraphQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from graphql import parse, validate

from butlerql.schema.build import build_schema
from butlerql.storage.repository import Repository
from tests.support.asking import asking, codes_of, data_of
from tests.support.repositories import RealRepository


@contextmanager
def every_statement() -> Iterator[list[str]]:
    """Collect the SQL that is run in the block, on whichever engine."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


async def test_totals_and_groups(rich: RealRepository) -> None:
    """Of the whole connection, whatever the page."""
    query = """{ datasets(select: { datasetTypes: ["raw", "config"] }, first: 1) { totalCount nodes { id }
        all: groups(by: []) { key datasets }
        groups(by: [DATASET_TYPE, INSTRUMENT, DATASET_TYPE]) { key bytes artifacts datasets } } }"""
    async with asking(rich) as ask:
        found = data_of(await ask(query))["datasets"]
    assert len(found["nodes"]) == 1
    assert found["all"] == [{"key": {}, "datasets": found["totalCount"]}]
    assert [group["key"] for group in found["groups"]] == [
        {"DATASET_TYPE": "config", "INSTRUMENT": None},
        {"DATASET_TYPE": "raw", "INSTRUMENT": "HSC"},
    ]
    assert sum(group["datasets"] for group in found["groups"]) == found["totalCount"]
    # Three datasets share a file, two are in one zip file.
    assert found["groups"][1]["artifacts"] == found["groups"][1]["datasets"] - 3


async def test_every_connection_of_datasets(demonstration: RealRepository) -> None:
    """Each parent has its own groups, which add up to its own count."""
    groups = "totalCount groups(by: [RUN, FORMATTER, INGEST_DAY]) { key datasets artifacts bytes }"
    query = f"""{{
        runs(names: ["*"]) {{ nodes {{ datasets {{ {groups} }} }} }}
        collections(names: ["*"]) {{ nodes {{ datasets(findFirst: false) {{ {groups} }} }} }}
        datasetTypes(names: ["*"]) {{ nodes {{ datasets {{ {groups} }} }} }}
        datasets(select: {{}}, first: 20) {{ {groups} nodes {{ dataId {{
            datasets(collections: ["*"]) {{ {groups} }} }} }} }}
    }}"""
    async with asking(demonstration) as ask:
        found = data_of(await ask(query))
    connections = [
        node["datasets"] for name in ("runs", "collections", "datasetTypes") for node in found[name]["nodes"]
    ]
    connections += [node["dataId"]["datasets"] for node in found["datasets"]["nodes"]]
    for connection in [*connections, found["datasets"]]:
        assert sum(group["datasets"] for group in connection["groups"]) == connection["totalCount"]
    assert any(len(connection["groups"]) > 1 for connection in connections)


async def test_statements_do_not_depend_on_parents_or_rows(rich: RealRepository) -> None:
    query = """query ($names: [String!]!) { collections(names: $names) { nodes {
        datasets(datasetTypes: ["calexp", "split"], first: 0) {
        groups(by: [DATASET_TYPE, STORAGE_CLASS]) { datasets artifacts } } } } }"""
    counts = set()
    async with asking(rich) as ask:
        for names in (["u/alice/run2"], ["u/alice/run1", "u/alice/run2"], ["u/*", "tag/best"]):
            with every_statement() as statements:
                data_of(await ask(query, names=names))
            counts.add(sum("file_datastore_records" in statement for statement in statements))
    assert counts == {1}


@pytest.mark.parametrize("by", ["[COLOUR]", "[null]", "null", '["RUN"]'])
async def test_what_is_no_key(rich: RealRepository, by: str) -> None:
    opened = await Repository.open(rich.uri)
    try:
        schema = build_schema(opened.universe)
    finally:
        await opened.close()
    assert validate(schema, parse(f"{{ datasets(select: {{}}) {{ groups(by: {by}) {{ key }} }} }}"))


async def test_ambiguous(rich: RealRepository) -> None:
    """A field that cannot be answered is null; the others are."""
    query = """{ datasets(select: { datasetTypes: ["bias"], collections: ["HSC/calib"], findFirst: true }, first: 0) {
        totalCount groups(by: [RUN]) { datasets } } }"""
    async with asking(rich) as ask:
        result = await ask(query)
    assert result.data is not None
    assert result.data["datasets"]["groups"] is None
    assert result.data["datasets"]["totalCount"] == 4
    assert codes_of(result) == [(["datasets", "groups"], "AMBIGUOUS_CALIBRATION")]
