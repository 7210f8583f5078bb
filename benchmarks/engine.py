"""The batch engine beside graphql-core's own execution and beside a hand-written comprehension, in one run.

Run as ``python benchmarks/engine.py [datasets]``. The question asks of each dataset ten leaves and three objects below:
its type and its run, which many datasets share, and its data ID, which is its own. All three ways answer from the same
rows, without a database; the first two from the same loaders. The answers are checked to be equal.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Any, NamedTuple

from graphql import ExecutionResult, GraphQLSchema, build_schema, execute, parse

from butlerql.resolvers.engine import BatchExecutionContext, Loaders, install
from butlerql.resolvers.stock import install_stock

SDL = """
enum Kind { RUN TAGGED }
interface Node { id: ID! }
type Type implements Node { id: ID! name: String! storageClass: String! }
type Run implements Node { id: ID! name: String! kind: Kind! doc: String }
type DataId implements Node { id: ID! instrument: String visit: Int detector: Int band: String }
type Dataset implements Node {
  id: ID! uuid: String! name: String! size: Int ingested: Float valid: Boolean! rank: Int! path: String checksum: String
  formatter: String! type: Type! run: Run! dataId: DataId!
}
type Query { datasets: [Dataset!]! }
"""

QUESTION = parse("""
{ datasets {
    id uuid name size ingested valid rank path checksum formatter
    type { id name storageClass }
    run { id name kind doc }
    dataId { id instrument visit detector band }
} }
""")


class Type(NamedTuple):
    id: str
    name: str
    storage_class: str


class Run(NamedTuple):
    id: str
    name: str
    kind: str
    doc: str | None


class DataId(NamedTuple):
    id: str
    instrument: str
    visit: int
    detector: int
    band: str | None


class Dataset(NamedTuple):
    id: str
    uuid: str
    name: str
    size: int | None
    ingested: float
    valid: bool
    rank: int
    path: str
    checksum: str | None
    formatter: str
    type_row: Type
    run_row: Run
    data_id_row: DataId


class Context:
    """A context without a database."""

    def __init__(self, datasets: list[Dataset]) -> None:
        self.datasets = datasets

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Hold nothing."""
        yield


loaders = Loaders()


@loaders.field("Query.datasets")
async def _datasets(context: Context, parents: Sequence[None]) -> list[list[Dataset]]:
    return [context.datasets for _ in parents]


@loaders.field("Dataset.type")
async def _type(context: Context, parents: Sequence[Dataset]) -> list[Type]:
    return [dataset.type_row for dataset in parents]


@loaders.field("Dataset.run")
async def _run(context: Context, parents: Sequence[Dataset]) -> list[Run]:
    return [dataset.run_row for dataset in parents]


@loaders.column("Dataset.dataId")
def _data_id(parents: Sequence[Dataset]) -> list[DataId]:
    return [dataset.data_id_row for dataset in parents]


def made(count: int) -> list[Dataset]:
    """Make datasets of 40 types in 2 runs."""
    types = [Type(f"t{number}", f"type{number}", "ExposureF") for number in range(40)]
    runs = [Run("r0", "runs/zero", "RUN", None), Run("r1", "runs/one", "RUN", "The second one.")]
    return [
        Dataset(
            f"d{number}",
            f"00000000-0000-0000-0000-{number:012d}",
            f"dataset {number}",
            number * 100 if number % 7 else None,
            number / 3,
            number % 2 == 0,
            number,
            f"runs/zero/{number}.fits",
            None,
            "FitsExposureFormatter",
            types[number % 40],
            runs[number % 2],
            DataId(f"i{number}", "HSC", number // 100, number % 100, "r"),
        )
        for number in range(count)
    ]


def by_hand(datasets: list[Dataset]) -> dict[str, Any]:
    """Answer the question as somebody would who knows it in advance."""
    types: dict[int, dict[str, Any]] = {}
    runs: dict[int, dict[str, Any]] = {}
    for dataset in datasets:
        kind, run = dataset.type_row, dataset.run_row
        if id(kind) not in types:
            types[id(kind)] = {"id": kind.id, "name": kind.name, "storageClass": kind.storage_class}
        if id(run) not in runs:
            runs[id(run)] = {"id": run.id, "name": run.name, "kind": run.kind, "doc": run.doc}
    return {
        "datasets": [
            {
                "id": d.id,
                "uuid": d.uuid,
                "name": d.name,
                "size": d.size,
                "ingested": d.ingested,
                "valid": d.valid,
                "rank": d.rank,
                "path": d.path,
                "checksum": d.checksum,
                "formatter": d.formatter,
                "type": types[id(d.type_row)],
                "run": runs[id(d.run_row)],
                "dataId": {
                    "id": d.data_id_row.id,
                    "instrument": d.data_id_row.instrument,
                    "visit": d.data_id_row.visit,
                    "detector": d.data_id_row.detector,
                    "band": d.data_id_row.band,
                },
            }
            for d in datasets
        ]
    }


def asked(schema: GraphQLSchema, executor: type[BatchExecutionContext] | None) -> Callable[[list[Dataset]], Any]:
    """Make a function that asks a schema the question."""

    async def answer(datasets: list[Dataset]) -> Any:
        result = execute(schema, QUESTION, context_value=Context(datasets), executor_class=executor)
        settled = await result if isinstance(result, Awaitable) else result
        assert isinstance(settled, ExecutionResult)
        assert settled.errors is None
        return settled.data

    return lambda datasets: asyncio.run(answer(datasets))


def main(count: int) -> None:
    """Time the three ways in turn, and print how their best compare: the others tell of what else the machine does."""
    engine, stock = build_schema(SDL), build_schema(SDL)
    install(engine, loaders)
    install_stock(stock, loaders)
    ways: dict[str, Callable[[list[Dataset]], Any]] = {
        "by hand": by_hand,
        "engine": asked(engine, BatchExecutionContext),
        "graphql-core": asked(stock, None),
    }
    datasets = made(count)
    expected = by_hand(datasets)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(9):
        for name, way in ways.items():
            gc.collect()
            start = time.process_time()
            answer = way(datasets)
            times[name].append(time.process_time() - start)
            assert answer == expected
    print(f"{count} datasets, ten leaves and three objects each; median and best of 9, milliseconds of processor time")
    for name, measured in times.items():
        ratio = min(measured) / min(times["engine"])
        print(f"{name:>14} {median(measured) * 1e3:9.1f} {min(measured) * 1e3:9.1f}   {ratio:6.2f} x the engine")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
