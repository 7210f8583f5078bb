"""A client: ask a ButlerQL server in Python, in the words of the Butler's own methods.

::

    from butlerql.client import Client

    with Client("http://127.0.0.1:8080") as butler:
        for dataset in butler.query_datasets("calexp", "HSC/runs/ci_hsc", instrument="HSC", visit=903334):
            print(dataset.data_id["detector"], dataset.filename)

`AsyncClient` has the same methods, to be awaited.
"""

from __future__ import annotations

from butlerql.client.clients import AsyncClient, Client
from butlerql.client.errors import BadAnswerError, ClientError, EmptyResultError, NoAnswerError, QueryError
from butlerql.client.rows import Collection, DataId, Dataset, DatasetType, DimensionRecord, Region, Timespan

__all__ = [
    "AsyncClient",
    "BadAnswerError",
    "Client",
    "ClientError",
    "Collection",
    "DataId",
    "Dataset",
    "DatasetType",
    "DimensionRecord",
    "EmptyResultError",
    "NoAnswerError",
    "QueryError",
    "Region",
    "Timespan",
]
