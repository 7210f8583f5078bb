"""Where every query begins."""

from __future__ import annotations

import strawberry

from butlerql.schema.anomalies import Anomaly
from butlerql.schema.audit import AuditEntryConnection
from butlerql.schema.collections import Collection, CollectionConnection, CollectionType, Run, RunConnection
from butlerql.schema.conditions import Bind, Filter, OrderBy, Where
from butlerql.schema.connections import After, Before, First, Last
from butlerql.schema.data_ids import DataId, DataIdConnection
from butlerql.schema.dataset_types import DatasetType, DatasetTypeConnection
from butlerql.schema.datasets import Dataset, DatasetConnection
from butlerql.schema.datastores import Datastore
from butlerql.schema.dimension_records import DimensionRecordConnection
from butlerql.schema.dimensions import Dimension
from butlerql.schema.fields import EVERYTHING, loaded
from butlerql.schema.jobs import Job, JobConnection, JobKind, JobState
from butlerql.schema.nodes import Node
from butlerql.schema.quanta import ExecutionConnection, QuantumConnection, QuantumFilter
from butlerql.schema.repository import Repository
from butlerql.schema.run_comparisons import RunComparison
from butlerql.schema.scalars import UUID, DataIdValues
from butlerql.schema.selection import DatasetSelection
from butlerql.schema.summaries import HostSummary, TaskSummary
from butlerql.schema.tasks import Task, TaskConnection
from butlerql.schema.timespans import TimespanInput
from butlerql.schema.viewer import Viewer

__all__ = ["Query"]


@strawberry.type
class Query:
    """Where every query begins.

    Lists come in one order: dataset type name, then the required dimensions in the universe's order, then the UUID;
    strings as the database orders them, nulls last.
    """

    @loaded
    def repository(self) -> Repository:
        """The repository that is served here."""

    @loaded
    def node(self, id: strawberry.ID) -> Node | None:  # noqa: A002 - the contract's name
        """Anything, by its `id`; null, with an error, if there is no such thing.

        Parameters
        ----------
        id
            What the `id` field of a node gave.
        """

    @loaded
    def nodes(self, ids: list[strawberry.ID]) -> list[Node | None]:
        """Several things, by their `id`s, in the order given; null, with an error, for each that does not exist.

        Parameters
        ----------
        ids
            What the `id` fields of nodes gave.
        """

    @loaded
    def dataset_type(self, name: str) -> DatasetType | None:
        """A dataset type; null if there is none of that name.

        Parameters
        ----------
        name
            Its name; a component's is that of its parent, a dot, and its own (`calexp.wcs`).
        """

    @loaded
    def dataset_types(
        self,
        names: list[str] | None = EVERYTHING,
        storage_classes: list[str] | None = None,
        dimensions: list[str] | None = None,
        components: bool | None = False,
        order_by: list[str] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DatasetTypeConnection | None:
        """Dataset types, by name.

        Parameters
        ----------
        names
            Names or globs (`calexp`, `deepCoadd*`).
        storage_classes
            Only those with one of these storage classes; null for all.
        dimensions
            Only those that have all these dimensions, required or implied, the Butler's spelling; null for all.
        components
            Whether globs mean components (`calexp.wcs`) too; one that is named in full is always listed.
        order_by
            What to order by, the most significant first: `name`, `storageClass`, `isCalibration`, `isComponent`, a `-`
            in front for descending order. Null for the order of names.
        """

    @loaded
    def collection(self, name: str) -> Collection | None:
        """A collection; null if there is none of that name.

        Parameters
        ----------
        name
            Its name.
        """

    @loaded
    def collections(
        self,
        names: list[str] | None = EVERYTHING,
        types: list[CollectionType] | None = None,
        flatten_chains: bool | None = False,
        order_by: list[str] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> CollectionConnection | None:
        """Collections, by name.

        Parameters
        ----------
        names
            Names or globs (`HSC/*`).
        types
            Only collections of these types; null for all.
        flatten_chains
            Whether chains are replaced by the collections that they reach, each once.
        order_by
            What to order by, the most significant first: `name`, `type`, `doc`, a `-` in front for descending order.
            Null for the order of names.
        """

    @loaded
    def run(self, name: str) -> Run | None:
        """A RUN collection; null if there is none of that name.

        Parameters
        ----------
        name
            Its name.
        """

    @loaded
    def runs(
        self,
        names: list[str] | None = EVERYTHING,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> RunConnection | None:
        """RUN collections, by name.

        Parameters
        ----------
        names
            Names or globs (`HSC/runs/*`).
        """

    @loaded
    def data_id(self, values: DataIdValues) -> DataId | None:
        """One data ID, validated against the universe and completed with what it implies.

        Null if no such record exists.

        Parameters
        ----------
        values
            Its values.
        """

    @loaded
    def data_ids(
        self,
        dimensions: list[str],
        dataset_types: list[str] | None = None,
        collections: list[str] | None = None,
        data_id: DataIdValues | None = None,
        where: Where = None,
        bind: Bind = None,
        filter: Filter = None,  # noqa: A002 - the contract's name
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DataIdConnection | None:
        """Data IDs of some dimensions, by the repository's records, each once.

        Parameters
        ----------
        dimensions
            Dimensions of the data IDs, the Butler's spelling.
        dataset_types
            Only data IDs for which there is a dataset of each of these; null for no such condition.
        collections
            Where the datasets of `datasetTypes` are looked for: names or globs. Chains are expanded. Null for
            everywhere.
        data_id
            Only data IDs that agree with these values.
        """

    @loaded
    def dataset(self, uuid: UUID) -> Dataset | None:
        """A dataset; null if there is none with that UUID.

        Parameters
        ----------
        uuid
            The Butler's identifier of it.
        """

    @loaded
    def find_dataset(
        self,
        dataset_type: str,
        data_id: DataIdValues,
        collections: list[str],
        timespan: TimespanInput | None = None,
    ) -> Dataset | None:
        """The first dataset found, searching the collections in order, chains depth first; null if none is found.

        Calibrations by `timespan`; where none is given, by that of the data ID's exposure, visit or day; without any, a
        calibration collection that holds more than one candidate is AMBIGUOUS_CALIBRATION.

        Parameters
        ----------
        dataset_type
            Name of the dataset type; of a component too (`calexp.wcs`).
        data_id
            What it is of. Values of further dimensions help to find calibrations.
        collections
            Names, searched in the order given. Chains are expanded.
        timespan
            When a calibration must be valid.
        """

    @loaded
    def datasets(
        self,
        select: DatasetSelection,
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DatasetConnection | None:
        """Datasets.

        Parameters
        ----------
        select
            Which.
        """

    @loaded
    def dimensions(self) -> list[Dimension]:
        """The dimensions of the repository's universe, skypix included, in its order."""

    @loaded
    def dimension(self, name: str) -> Dimension | None:
        """A dimension element; null if the universe has none of that name.

        Parameters
        ----------
        name
            Its name, the Butler's spelling.
        """

    @loaded
    def dimension_records(
        self,
        element: str,
        data_id: DataIdValues | None = None,
        where: Where = None,
        bind: Bind = None,
        filter: Filter = None,  # noqa: A002 - the contract's name
        dataset_types: list[str] | None = None,
        collections: list[str] | None = None,
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DimensionRecordConnection | None:
        """Records of a dimension element.

        Parameters
        ----------
        element
            Name of the element, the Butler's spelling.
        data_id
            Only records that agree with these values.
        dataset_types
            Only records for which there is a dataset of each of these; null for no such condition.
        collections
            Where the datasets of `datasetTypes` are looked for: names or globs. Chains are expanded. Null for
            everywhere.
        """

    @loaded
    def datastores(self) -> list[Datastore]:
        """All datastores of the repository, chains before their members."""

    @loaded
    def datastore(self, name: str) -> Datastore | None:
        """A datastore; null if there is none of that name.

        Parameters
        ----------
        name
            Its name, as `Datastore.name` gives it.
        """

    @loaded
    def task(self, label: str) -> Task | None:
        """A task; null if provenance knows none with that label.

        Parameters
        ----------
        label
            Its label in pipelines.
        """

    @loaded
    def tasks(
        self,
        labels: list[str] | None = EVERYTHING,
        runs: list[str] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> TaskConnection | None:
        """Tasks that provenance knows, by label.

        Parameters
        ----------
        labels
            Labels or globs (`isr`, `calibrate*`).
        runs
            Names or globs; only tasks that are known in one of these runs. Null for all.
        """

    @loaded
    def quanta(
        self,
        filter: QuantumFilter,  # noqa: A002 - the contract's name
        order_by: list[str] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> QuantumConnection | None:
        """Units of work, whether or not they ran.

        Parameters
        ----------
        filter
            Which.
        order_by
            What to order by, the most significant first: `run`, `task`, `status`, `attempts`, a `-` in front for
            descending order. Null for the order in which they became known.
        """

    @loaded
    def executions(
        self,
        filter: QuantumFilter,  # noqa: A002 - the contract's name
        order_by: list[str] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> ExecutionConnection | None:
        """Attempts at units of work.

        Parameters
        ----------
        filter
            Which.
        order_by
            What to order by, the most significant first: `run`, `task`, `status`, `attempt`, `host`, `startedAt`,
            `endedAt`, `runTime`, `cpuTime`, `maxRss`, `exception`, a `-` in front for descending order. Null for the
            order in which they became known.
        """

    @loaded
    def task_summaries(
        self,
        filter: QuantumFilter,  # noqa: A002 - the contract's name
    ) -> list[TaskSummary] | None:
        """How often each task ran in each run, and how it went: one row a run and task, by their names.

        Parameters
        ----------
        filter
            What to sum up. Of units of work and of attempts those are counted that it selects.
        """

    @loaded
    def host_summaries(
        self,
        filter: QuantumFilter,  # noqa: A002 - the contract's name
        min_executions: int | None = 1,
    ) -> list[HostSummary] | None:
        """How each machine fared, the highest share of failures first; `allFailed` marks a bad one.

        Parameters
        ----------
        filter
            Which attempts to sum up.
        min_executions
            Only machines with so many attempts, 1 or more.
        """

    @loaded
    def anomalies(
        self, run: str, baseline: list[str], ratio: float | None = 2.0, min_executions: int | None = 3
    ) -> list[Anomaly] | None:
        """Tasks of a run whose run time, memory, CPU time or failure rate is dramatically worse than in other runs.

        And those that ran dramatically more or less often. What departs by the most times comes first. Null if
        provenance knows nothing of the run, or of no baseline run: then nobody can tell.

        Parameters
        ----------
        run
            Name of the run.
        baseline
            Names or globs of runs to compare it with, all together; the run itself is left out.
        ratio
            From how many times the baseline something is told, 1 or more. Less is told of how often tasks ran alone,
            from as many times less.
        min_executions
            From how many attempts on each side something is told, 1 or more.
        """

    @loaded
    def compare_runs(
        self,
        base: str,
        other: str,
        dataset_types: list[str] | None = None,
        tasks: list[str] | None = None,
        datastore: str | None = None,
    ) -> RunComparison | None:
        """Compare two runs: what each has and the other does not, what differs, and how each task went.

        Parameters
        ----------
        base
            Name of the RUN collection that is compared with.
        other
            Name of the RUN collection that is compared.
        dataset_types
            Only datasets of these types, names or globs; null for all.
        tasks
            Only these tasks, labels or globs; null for all.
        datastore
            Whose records tell what is stored and what differs; null for all datastores of the repository.
        """

    @loaded
    def job(self, id: strawberry.ID) -> Job | None:  # noqa: A002 - the contract's name
        """A job; null if there is none with that id.

        Parameters
        ----------
        id
            Its `id`.
        """

    @loaded
    def jobs(
        self,
        kinds: list[JobKind] | None = None,
        states: list[JobState] | None = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> JobConnection | None:
        """Jobs, the newest first.

        Parameters
        ----------
        kinds
            Only jobs of these kinds; null for all.
        states
            Only jobs in these states; null for all.
        """

    @loaded
    def audit_log(
        self, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> AuditEntryConnection | None:
        """Changes that were made here, or asked for and refused, the newest first.

        What was asked of a repository that is served to be read only is not among them.
        """

    @loaded
    def viewer(self) -> Viewer:
        """Whoever asks, and what they may do. There is no authentication: all are the same."""
