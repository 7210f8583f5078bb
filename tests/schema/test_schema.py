"""The schema as a whole: what is committed, what is described, what shape lists have."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    is_specified_scalar_type,
)
from graphql import (
    build_schema as read_sdl,
)

from butlerql import schema as room
from butlerql.schema.build import build_schema
from tests.schema.print_schema import default_universe, printed

COMMITTED = Path(inspect.getfile(room)).with_name("schema.graphql")
PAGING = ["first", "after", "last", "before"]
# Lists that the contract gives whole, because they are short.
WHOLE = {
    "Query.nodes",
    "Query.anomalies",
    "Anomaly.examples",
    "Query.dimensions",
    "Query.datastores",
    "DimensionUniverse.dimensions",
    "DimensionUniverse.elements",
    "Dimension.required",
    "Dimension.implied",
    "Dimension.metadata",
    "DatasetType.dimensions",
    "DatasetType.components",
    "DataId.dimensions",
    "DataId.records",
    "ChainedCollection.children",
    "ChainedCollection.flattened",
    "Dataset.collections",
    "Dataset.certifications",
    "Dataset.artifacts",
    "DatasetConnection.groups",
    "ChainedDatastore.children",
    "Existence.children",
    "RunComparison.datasetTypes",
    "RunComparison.tasks",
    "StorageUsage.children",
    "StorageUsage.groups",
    "ValidationJob.checks",
    "ValidationJob.summary",
    "RunCheck.summary",
    "DeletionPlan.blocked",
    "DeletionPlan.groups",
    "DeletionPlan.outcomes",
    "DeletionPlan.override",
    "DeletionPlan.warnings",
    "DatasetType.producedBy",
    "DatasetType.consumedBy",
    "Lineage.datasets",
    "Lineage.quanta",
    "PipelineExecution.tasks",
    "PipelineExecution.summary",
    "Quantum.executions",
    "Query.taskSummaries",
    "Query.hostSummaries",
    "RunProvenance.summary",
    "RunProvenance.hosts",
    "RunProvenance.tasks",
    "RunProvenance.pipelineExecutions",
    "Task.inputs",
    "Task.outputs",
    "Task.summaries",
    "TaskSummary.exceptions",
    "TaskSummary.caveats",
    "Viewer.scopes",
    *(
        f"{name}.parents"
        for name in ("Collection", "Run", "TaggedCollection", "CalibrationCollection", "ChainedCollection")
    ),
}


FORWARD = {
    "DeletionItem.datasets",
    "Finding.datasets",
    "Provenance.usedBy",
    "Provenance.inputs",
    "Provenance.derived",
    "Quantum.inputs",
    "Quantum.outputs",
    "RunProvenance.quanta",
    "RunProvenance.executions",
}
"""Lists that are paged forward only."""


@pytest.fixture(scope="module")
def core() -> GraphQLSchema:
    """Build the schema of the default universe."""
    return build_schema(default_universe())


def ours(core: GraphQLSchema) -> list[GraphQLNamedType]:
    return [
        named
        for named in core.type_map.values()
        if not named.name.startswith("__") and not is_specified_scalar_type(named)
    ]


def described(core: GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    """Name everything that can have a description, with its description."""
    for named in ours(core):
        yield named.name, named.description
        if isinstance(named, GraphQLEnumType):
            for name, member in named.values.items():
                yield f"{named.name}.{name}", member.description
        elif isinstance(named, GraphQLInputObjectType):
            for name, given in named.fields.items():
                yield f"{named.name}.{name}", given.description
        elif isinstance(named, (GraphQLObjectType, GraphQLInterfaceType)):
            for name, field in named.fields.items():
                yield f"{named.name}.{name}", field.description
                for argument, given_here in field.args.items():
                    yield f"{named.name}.{name}({argument}:)", given_here.description


def test_what_is_committed_is_what_is_built() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == printed(), (
        "schema/schema.graphql is not what the code says. Look at the difference; if it is meant, write it anew:\n"
        "    python -m tests.schema.print_schema > schema/schema.graphql"
    )


def test_what_is_committed_can_be_read(core: GraphQLSchema) -> None:
    read = read_sdl(COMMITTED.read_text(encoding="utf-8"))
    assert set(read.type_map) == set(core.type_map)


def test_everything_is_described(core: GraphQLSchema) -> None:
    everything = dict(described(core))
    assert len(everything) > 300
    assert [path for path, text in everything.items() if not (text and text.strip())] == []


def test_descriptions_are_sentences(core: GraphQLSchema) -> None:
    for path, text in described(core):
        assert text is not None
        assert text == text.strip(), path
        assert text[0].isupper() or text[0] in "`*", path
        assert text.endswith((".", "`, ...")), path
        # What is left when a docstring was not taken apart, or is the one that dataclasses write.
        assert "----" not in text, path
        assert not text.startswith(f"{path}("), path


def test_connections_have_relays_shape(core: GraphQLSchema) -> None:
    connections = [named for named in ours(core) if named.name.endswith("Connection")]
    assert len(connections) == 16
    for connection in connections:
        item = connection.name.removesuffix("Connection")
        assert isinstance(connection, GraphQLObjectType)
        assert {name: str(field.type) for name, field in connection.fields.items()} == {
            "edges": f"[{item}Edge!]!",
            "nodes": f"[{item}!]!",
            "pageInfo": "PageInfo!",
            "totalCount": "BigInt",
            **({"groups": "[UsageGroup!]"} if item == "Dataset" else {}),
        }
        edge = core.type_map[f"{item}Edge"]
        assert isinstance(edge, GraphQLObjectType)
        assert {name: str(field.type) for name, field in edge.fields.items()} == {
            "cursor": "String!",
            "node": f"{item}!",
        }


def test_long_lists_are_paged(core: GraphQLSchema) -> None:
    whole = set()
    for named in ours(core):
        if not isinstance(named, (GraphQLObjectType, GraphQLInterfaceType)):
            continue
        for name, field in named.fields.items():
            paging = [argument for argument in field.args if argument in PAGING]
            path = f"{named.name}.{name}"
            if str(field.type).rstrip("!").endswith("Connection"):
                known = PAGING[:2] if path in FORWARD else PAGING
                assert paging == known == list(field.args)[-len(known) :], path
                types = [str(field.args[argument].type) for argument in known]
                assert types == ["Int", "String", "Int", "String"][: len(known)]
            else:
                assert paging == (["first"] if path == "Anomaly.examples" else []), path
                leaf = str(field.type).strip("[]!")
                if str(field.type).startswith("[") and leaf not in ("String", "Float") and "Edge" not in leaf:
                    whole.add(path)
    assert {path for path in whole if not path.endswith("Connection.nodes")} == WHOLE


def test_nodes_have_ids(core: GraphQLSchema) -> None:
    node = core.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    assert {named.name for named in core.get_possible_types(node)} == {
        "CalibrationCollection",
        "ChainedCollection",
        "ChainedDatastore",
        "DataId",
        "Dataset",
        "DatasetType",
        "DeletionJob",
        "DeletionPlan",
        "FileDatastore",
        "IngestJob",
        "InMemoryDatastore",
        "PlanningJob",
        "PipelineExecution",
        "Quantum",
        "Task",
        "Run",
        "TaggedCollection",
        "TaggingJob",
        "ValidationJob",
    }
    for interface in ("Collection", "Datastore"):
        abstract = core.type_map[interface]
        assert isinstance(abstract, GraphQLInterfaceType)
        for named in core.get_possible_types(abstract):
            assert node in named.interfaces


def test_strawberry_brings_no_types_of_its_own(core: GraphQLSchema) -> None:
    names = {named.name for named in ours(core)}
    assert not names & {"GlobalID", "Void", "Date", "Time", "Decimal", "Upload", "Base64"}
    assert {directive.name for directive in core.directives} == {
        "include",
        "skip",
        "deprecated",
        "specifiedBy",
        "oneOf",
    }
