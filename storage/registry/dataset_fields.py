"""What conditions may say of a dataset itself, beside its data ID."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from butlerql.storage.repository import Repository
from butlerql.storage.tables import Tables

__all__ = ["collection_name", "dataset_field"]


def dataset_field(
    repository: Repository, dataset_id: sa.ColumnElement[Any], collection: sa.ColumnElement[Any], name: str
) -> sa.ColumnElement[Any]:
    """Give a column of a dataset.

    Parameters
    ----------
    repository
        Whose registry.
    dataset_id
        Column of its UUID.
    collection
        Column that refers to the collection by which it was found.
    name
        ``dataset_id``, ``ingest_date``, ``run``, or ``collection``.
    """
    if name == "dataset_id":
        return dataset_id
    if name == "collection":
        return collection_name(repository.tables, collection)
    dataset = repository.tables.dataset.alias()
    own = sa.select(dataset.c[name]).where(dataset.c.id == dataset_id).correlate_except(dataset).scalar_subquery()
    return collection_name(repository.tables, own) if name == "run" else own


def collection_name(tables: Tables, key: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Look up the name of a collection."""
    if tables.layout.collections_by_name:
        return key
    collection = tables.collection.alias()
    named = sa.select(collection.c.name).where(collection.c.collection_id == key)
    return named.correlate_except(collection).scalar_subquery()
