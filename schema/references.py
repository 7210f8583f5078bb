"""Types that refer to each other in a circle, by name.

A type checker sees the types themselves. At run time each is a reference that Strawberry follows when the schema is
built. A module takes from here what it cannot import because that module needs it too.
"""

# ruff: noqa: TC004 (what a type checker sees imported is made below)

from __future__ import annotations

from typing import TYPE_CHECKING

from strawberry.types.lazy_type import LazyType

__all__ = [
    "Artifact",
    "CertificationConnection",
    "ChainedCollection",
    "ChainedDatastore",
    "Collection",
    "CollectionConnection",
    "CollectionType",
    "DataId",
    "DataIdConnection",
    "Dataset",
    "DatasetConnection",
    "DatasetTraceConnection",
    "DatasetType",
    "DatasetTypeConnection",
    "Datastore",
    "DeletionPlan",
    "Dimension",
    "DimensionRecord",
    "DimensionRecordConnection",
    "JobConnection",
    "PipelineExecution",
    "Provenance",
    "Quantum",
    "Run",
    "RunCheck",
    "RunProvenance",
    "StorageUsage",
    "Task",
    "TaskSummary",
    "UsageKey",
]

if TYPE_CHECKING:
    from butlerql.schema.artifacts import Artifact
    from butlerql.schema.certifications import CertificationConnection
    from butlerql.schema.collections import ChainedCollection, Collection, CollectionConnection, CollectionType, Run
    from butlerql.schema.data_ids import DataId, DataIdConnection
    from butlerql.schema.dataset_types import DatasetType, DatasetTypeConnection
    from butlerql.schema.datasets import Dataset, DatasetConnection
    from butlerql.schema.datastores import ChainedDatastore, Datastore
    from butlerql.schema.deletion import DeletionPlan
    from butlerql.schema.dimension_records import DimensionRecord, DimensionRecordConnection
    from butlerql.schema.dimensions import Dimension
    from butlerql.schema.jobs import JobConnection
    from butlerql.schema.pipeline_executions import PipelineExecution
    from butlerql.schema.provenance import DatasetTraceConnection, Provenance, RunProvenance
    from butlerql.schema.quanta import Quantum
    from butlerql.schema.run_checks import RunCheck
    from butlerql.schema.summaries import TaskSummary
    from butlerql.schema.tasks import Task
    from butlerql.schema.usage import StorageUsage, UsageKey
else:
    for _module, _names in {
        "artifacts": "Artifact",
        "certifications": "CertificationConnection",
        "collections": "ChainedCollection Collection CollectionConnection CollectionType Run",
        "data_ids": "DataId DataIdConnection",
        "dataset_types": "DatasetType DatasetTypeConnection",
        "datasets": "Dataset DatasetConnection",
        "datastores": "ChainedDatastore Datastore",
        "deletion": "DeletionPlan",
        "dimension_records": "DimensionRecord DimensionRecordConnection",
        "dimensions": "Dimension",
        "jobs": "JobConnection",
        "pipeline_executions": "PipelineExecution",
        "provenance": "DatasetTraceConnection Provenance RunProvenance",
        "quanta": "Quantum",
        "run_checks": "RunCheck",
        "summaries": "TaskSummary",
        "tasks": "Task",
        "usage": "StorageUsage UsageKey",
    }.items():
        for _name in _names.split():
            globals()[_name] = LazyType(_name, f"butlerql.schema.{_module}")
