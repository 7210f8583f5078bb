"""One repository that answers GraphQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from inspect import isawaitable
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    GraphQLSchema,
    create_source_event_stream,
    execute,
    execute_subscription_event,
    map_source_to_response_event,
)

from butlerql.resolvers import (
    anomalies,
    audit,
    certifications,
    collection_changes,
    collections,
    connections,
    data_ids,
    dataset_connections,
    dataset_types,
    datasets,
    datastores,
    deletion,
    descriptions,
    dimensions,
    existence,
    extents,
    ingest,
    jobs,
    nodes,
    provenance,
    quanta,
    repository,
    run_checks,
    run_comparisons,
    storage_classes,
    summaries,
    tagging,
    tasks,
    usage,
    validation,
    viewer,
)
from butlerql.resolvers.context import Limits, RequestContext
from butlerql.resolvers.engine import BatchExecutionContext, install
from butlerql.resolvers.loaders import Loaders
from butlerql.resolvers.openlineage import take_in_events
from butlerql.schema.build import build_schema
from butlerql.scopes import Scope, granted_scopes
from butlerql.storage.datastores.validation.job import Validation
from butlerql.storage.provenance.job import Ingestion
from butlerql.storage.provenance.summing import SummingLater
from butlerql.storage.registry.tagging_jobs import Tagging
from butlerql.storage.repository import Repository
from butlerql.storage.state.coordinator import Coordinator
from butlerql.storage.state.kinds import Kind
from butlerql.storage.state.workers import Workers, processes

__all__ = ["Service", "build_service", "every_loader"]

_SUBJECTS = (
    anomalies,
    audit,
    certifications,
    collection_changes,
    collections,
    connections,
    data_ids,
    dataset_connections,
    dataset_types,
    datasets,
    datastores,
    deletion,
    descriptions,
    dimensions,
    existence,
    extents,
    ingest,
    jobs,
    nodes,
    provenance,
    quanta,
    repository,
    run_checks,
    run_comparisons,
    storage_classes,
    summaries,
    tagging,
    tasks,
    usage,
    validation,
    viewer,
)


def every_loader(schema: GraphQLSchema) -> Loaders:
    """Put together what answers the fields of all subjects, those of the repository's own dimensions among them."""
    return Loaders.merged(*(subject.loaders for subject in _SUBJECTS), data_ids.dimension_columns(schema))


class Service:
    """A repository, and the schema by which it is asked.

    Make one with `build_service`.
    """

    def __init__(
        self, repository: Repository, schema: GraphQLSchema, limits: Limits, jobs: Coordinator, scopes: frozenset[Scope]
    ) -> None:
        self.repository = repository
        self.schema = schema
        self.jobs = jobs
        self._sums = SummingLater(repository.state)
        self._limits = limits
        self._scopes = scopes

    async def execute(
        self, document: DocumentNode, *, variables: dict[str, Any] | None = None, operation_name: str | None = None
    ) -> ExecutionResult:
        """Run one operation of a valid document, in one snapshot of the registry."""
        async with self._context() as context:
            result = execute(
                self.schema,
                document,
                context_value=context,
                variable_values=variables,
                operation_name=operation_name,
                executor_class=BatchExecutionContext,
            )
            result = await result if isawaitable(result) else result
            if context.unrelated:
                result.extensions = {**(result.extensions or {}), "unrelated": sorted(context.unrelated)}
            return result

    async def subscribe(
        self, document: DocumentNode, *, variables: dict[str, Any] | None = None, operation_name: str | None = None
    ) -> AsyncIterator[ExecutionResult] | ExecutionResult:
        """Run a subscription of a valid document: a result an event, each of which is read in a snapshot of its own.

        Returns
        -------
        results
            One after another; or one with errors, if the stream cannot begin.
        """
        executor = BatchExecutionContext.build(
            self.schema,
            document,
            context_value=self._context(),
            raw_variable_values=variables,
            operation_name=operation_name,
        )
        if isinstance(executor, list):
            return ExecutionResult(errors=executor)
        stream = create_source_event_stream(executor)
        stream = await stream if isawaitable(stream) else stream
        if isinstance(stream, ExecutionResult):
            return stream
        return map_source_to_response_event(executor, stream, self._execute_event)

    async def _execute_event(self, executor: Executor[Any]) -> ExecutionResult:
        async with self._context() as context:
            executor.context_value = context
            result = execute_subscription_event(executor)
            return await result if isawaitable(result) else result

    async def take_in(self, events: Sequence[Any]) -> dict[str, Any]:
        """Take in events of OpenLineage; see `take_in_events`."""
        async with self._context() as context:
            answer = await take_in_events(context, events)
        self._sums.ask()
        return answer

    def _context(self) -> RequestContext:
        return RequestContext(self.repository, self._limits, self.jobs.wake, self._scopes)

    async def ready(self) -> None:
        """Find out whether the repository can be read now; see `Repository.ready`."""
        await self.repository.ready()

    def start(self) -> None:
        """Take up long work: what is asked for, and what others left."""
        self.jobs.start()

    async def close(self) -> None:
        """Leave jobs for whoever comes next, and let go of the repository."""
        await self._sums.close()
        await self.jobs.close()
        await self.repository.close()


def build_service(
    repository: Repository,
    limits: Limits,
    workers: Workers | None = None,
    scopes: Collection[Scope] | None = None,
) -> Service:
    """Build the schema of a repository and what answers it.

    Parameters
    ----------
    repository
        What is served.
    limits
        What a request may ask for.
    workers
        Who does long work, when the service's ``jobs`` are started; None: one process.
    scopes
        What everybody may do; None: see `granted_scopes`.

    Raises
    ------
    SchemaMismatchError
        Raised if a field of the schema has nothing that answers it: a fault of the program.
    """
    schema = build_schema(repository.universe)
    install(schema, every_loader(schema))
    workers = workers or processes(1)
    kinds: list[Kind] = [Validation(repository, workers.number), Ingestion(repository)]
    if not repository.read_only:
        # What one cannot do is left to another that can.
        kinds += [Tagging(repository), *limits.deletion.kinds(repository)]
    jobs = Coordinator(repository.state, kinds, workers.make_executor, width=2 * workers.number)
    granted = granted_scopes(writable=not repository.read_only) if scopes is None else frozenset(scopes)
    return Service(repository, schema, limits, jobs, granted)
