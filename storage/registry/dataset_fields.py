"""What conditions may say of a dataset itself, beside its data ID."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from butlerql.storage.repository import Repository
from butlerql.storage.tables import Tables

__all__ = ["collection_name", "dataset_fields"]


def dataset_fields(
    repository: Repository, dataset_id: sa.ColumnElement[Any], collection: sa.ColumnElement[Any]
) -> Mapping[str, sa.ColumnElement[Any]]:
    """Give the columns of a dataset.

    Parameters
    ----------
    repository
        Whose registry.
    dataset_id
        Column of its UUID.
    collection
        Column that refers to the collection by which it was found.
    """
    tables = repository.tables
    dataset = tables.dataset.alias()
    own = sa.select().where(dataset.c.id == dataset_id).correlate_except(dataset)
    return {
        "dataset_id": dataset_id,
        "ingest_date": own.add_columns(dataset.c.ingest_date).scalar_subquery(),
        "run": collection_name(tables, own.add_columns(dataset.c.run).scalar_subquery()),
        "collection": collection_name(tables, collection),
    }


def collection_name(tables: Tables, key: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Look up the name of a collection."""
    if tables.layout.collections_by_name:
        return key
    collection = tables.collection.alias()
    named = sa.select(collection.c.name).where(collection.c.collection_id == key)
    return named.correlate_except(collection).scalar_subquery()
