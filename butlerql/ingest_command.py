"""``butlerql ingest-provenance``: what runs and files tell of work is taken in, once or as it comes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from butlerql.command_line import config_option, fail, opened_repository, read_settings, run, state_option
from butlerql.job_running import until_stopped
from butlerql.settings import Settings
from butlerql.storage.errors import BusyError, DatastoreError, InvalidSourceError

if TYPE_CHECKING:
    from butlerql.storage.provenance.job import Request
    from butlerql.storage.provenance.reading import Reading
    from butlerql.storage.provenance.records import Record, Skipped, Source
    from butlerql.storage.repository import Repository

__all__ = ["ingest_provenance"]

_SKIPPED = 1
"""Exit status where something could not be read."""

_PAUSE_SECONDS = 5.0
"""Between two looks at what may have grown; longer where a look takes longer."""

_LONGEST_PAUSE_SECONDS = 3600.0
"""Between two readings of the same, of which something cannot be read; longer where reading takes longer."""

_NAMED = 20

_WHOLE = "all of it"
"""What was skipped, where a file is not there, or is broken."""


@click.command("ingest-provenance")
@click.argument("repository", metavar="REPO")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--graph", "graphs", multiple=True, metavar="FILE", help="A quantum graph, planned or with provenance.")
@click.option("--jsonl", "lines", multiple=True, metavar="FILE", help="JSON Lines, an attempt a line.")
@click.option("--follow", is_flag=True, help="Go on with what arrives, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all that was skipped.")
@state_option
@config_option
def ingest_provenance(
    repository: str,
    runs: tuple[str, ...],
    graphs: tuple[str, ...],
    lines: tuple[str, ...],
    follow: bool,
    as_json: bool,
    state: str | None,
    file: Path | None,
) -> None:
    """Take in what runs, and files, tell of work that was done.

    RUN is a name or a glob; '*' is all runs. FILE is a path, or a URI with file: or s3:. What was taken in is not taken
    in twice: say the same again when there is more, or to go on after Ctrl-C. The exit status is 0 if everything could
    be read, 1 if something was skipped, 2 if it cannot be done, 130 after Ctrl-C without --follow.
    """
    if not (runs or graphs or lines):
        fail("Name runs ('*' for all of them), or give files by --graph or --jsonl.")
    command = _Command(repository, read_settings(file, state=state), runs, graphs, lines, as_json=as_json)
    sys.exit(run(until_stopped(command.run(follow=follow))))


@dataclass(frozen=True, slots=True)
class _Broken:
    """A source of which something could not be read."""

    skipped: Sequence[Skipped]
    pause: float
    """Seconds until it is worth while to read it again: somebody may have mended it where it is."""

    until: float
    """Its end, by the monotonic clock."""


class _Command:
    """Takes in the same things, once or again and again."""

    def __init__(
        self,
        uri: str,
        settings: Settings,
        runs: Sequence[str],
        graphs: Sequence[str],
        lines: Sequence[str],
        *,
        as_json: bool,
    ) -> None:
        self._uri = uri
        self._settings = settings
        self._runs = list(runs)
        self._files = [("QUANTUM_GRAPH", one) for one in graphs] + [("JSON_LINES", one) for one in lines]
        self._as_json = as_json
        self._new: Counter[str] = Counter()
        self._skipped: dict[str, list[Skipped]] = {}
        """By run or file, as it was read last: a line that was half written is whole later."""
        self._broken: dict[str, dict[Source, _Broken]] = {}
        """Likewise."""
        self._now = ""
        self._told = (0, 0)

    async def run(self, *, follow: bool) -> int:
        """Give the exit status."""
        async with opened_repository(self._uri, self._settings) as repository:
            try:
                with self._shown():
                    begun = monotonic()
                    await self._look(repository)
                    while follow:
                        self._tell_of_new()
                        await asyncio.sleep(max(_PAUSE_SECONDS, monotonic() - begun))
                        begun = monotonic()
                        with suppress(BusyError):
                            await self._look(repository)
            except asyncio.CancelledError:
                if not follow:
                    click.echo("Stopped. To go on, say the same again.", err=True)
                    raise
        click.echo(self._report())
        return _SKIPPED if any(self._skipped.values()) else 0

    async def _look(self, repository: Repository) -> None:
        """Take in whatever is there now."""
        from butlerql.storage.provenance.job import ProvenanceSource, Request, runs_to_read
        from butlerql.storage.provenance.records import Skipped

        whole = Request()
        for name in await runs_to_read(repository, self._runs):
            await self._take_in(repository, name, whole, name)
        for kind, name in self._files:
            request = Request(ProvenanceSource(kind), uri=_uri(name)).validated()
            try:
                await self._take_in(repository, name, request, None)
            except (InvalidSourceError, DatastoreError) as error:
                self._skipped[name] = [Skipped(_WHOLE, str(error))]

    async def _take_in(self, repository: Repository, name: str, request: Request, run: str | None) -> None:
        from butlerql.storage.provenance.job import readings
        from butlerql.storage.provenance.records import Skipped

        self._now = name
        skipped: list[Skipped] = []
        before, broken = self._broken.get(name, {}), {}
        async with aclosing(readings(repository, request, run)) as found:
            async for reading in found:
                if isinstance(reading, Skipped):
                    skipped.append(reading)
                    continue
                known = before.get(reading.source)
                if known is None or monotonic() >= known.until:
                    known = await self._read(repository, reading, known)
                if known is not None:
                    broken[reading.source] = known
                    skipped += known.skipped
        self._skipped[name], self._broken[name] = skipped, broken

    async def _read(self, repository: Repository, reading: Reading, before: _Broken | None) -> _Broken | None:
        """Take one source in; while the same of it cannot be read, the pause grows after which that is tried again."""
        from butlerql.storage.provenance.ingest import ingest, known_of

        begun = monotonic()
        was, _ = await known_of(repository.state, reading.source)
        await ingest(repository.state, reading.source, self._counted(reading))
        now, skipped = await known_of(repository.state, reading.source)
        self._new["quanta"] += now.quanta - was.quanta
        self._new["executions"] += now.executions - was.executions
        if not skipped:
            return None
        ended, pause = monotonic(), _PAUSE_SECONDS
        if before is not None and before.skipped == skipped:
            pause = min(2 * before.pause, _LONGEST_PAUSE_SECONDS)
        pause = max(pause, ended - begun)
        return _Broken(skipped, pause, ended + pause)

    async def _counted(self, reading: Reading) -> AsyncIterator[Sequence[Record]]:
        from butlerql.storage.provenance.batches import how_many

        async for batch in reading.batches:
            self._new["records"] += sum(map(how_many, batch))
            yield batch

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Show what is read, if somebody sees it."""
        from rich.console import Console
        from rich.status import Status
        from rich.text import Text

        console = Console(stderr=True)
        if not console.is_terminal:
            yield
            return
        with Status("", console=console) as status:

            async def watch() -> None:
                while True:
                    new = self._new
                    text = f"{self._now}: {new['records']} records read, {new['quanta']} quanta and "
                    status.update(Text(f"{text}{new['executions']} executions new"))
                    await asyncio.sleep(0.5)

            watching = asyncio.get_running_loop().create_task(watch())
            try:
                yield
            finally:
                watching.cancel()

    def _tell_of_new(self) -> None:
        """Say what is new since this was said last, where `_shown` shows nothing."""
        told = self._new["quanta"], self._new["executions"]
        if told != self._told and not sys.stderr.isatty():
            quanta, executions = (now - was for now, was in zip(told, self._told, strict=True))
            click.echo(f"{quanta} quanta and {executions} executions new", err=True)
        self._told = told

    def _report(self) -> str:
        skipped = [(name, one.name, one.reason) for name, some in self._skipped.items() for one in some]
        if self._as_json:
            told = [dict(zip(("source", "name", "reason"), one, strict=True)) for one in skipped]
            new = {name: self._new[name] for name in ("quanta", "executions")}
            return json.dumps({**new, "skipped": len(skipped), "skippedNames": told}, indent=2)
        lines = [
            f"units of work  {self._new['quanta']} new",
            f"attempts       {self._new['executions']} new",
            f"skipped        {len(skipped)}",
            *(f"    {name}: {what}: {reason}" for name, what, reason in skipped[:_NAMED]),
        ]
        if len(skipped) > _NAMED:
            lines.append(f"    and {len(skipped) - _NAMED} more; --json names all of them")
        return "\n".join(lines)


def _uri(file: str) -> str:
    return file if file.startswith(("file:///", "s3://")) else str(Path(file).absolute())
