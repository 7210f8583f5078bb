"""Provenance is taken in."""

from __future__ import annotations

import strawberry

from butlerql.schema.enums import DescribedEnum

__all__ = ["IngestProvenanceInput", "ProvenanceSource"]


@strawberry.enum
class ProvenanceSource(DescribedEnum):
    """What provenance is read from."""

    REPOSITORY = "REPOSITORY", "Metadata, logs and provenance graphs stored in the runs."
    QUANTUM_GRAPH = "QUANTUM_GRAPH", "A quantum graph file, with provenance or as it was planned."
    JSON_LINES = "JSON_LINES", "JSON Lines, one execution a line."


@strawberry.input
class IngestProvenanceInput:
    """What to take in. Whatever was taken in before is not taken in twice."""

    runs: list[str] | None = strawberry.field(
        default=None, description="Names or globs of runs; null for all. Only with the source REPOSITORY."
    )
    source: ProvenanceSource = strawberry.field(
        default=ProvenanceSource.REPOSITORY, description="What to read it from."
    )
    uri: str | None = strawberry.field(
        default=None,
        description=(
            "Absolute path or URI of the file, as the service sees it. Only with the other sources, and only where the "
            "repository is served with `--writable`."
        ),
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A second call with the same key returns the first one's result."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description="Anything; the payload gives it back.")
