"""What ``butlerql check`` says about a repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from butlerql import __version__
from butlerql.storage.datastores.tree import ChainedDatastore, Datastore, FileDatastore
from butlerql.storage.errors import ButlerQLError
from butlerql.storage.repository import Repository

__all__ = ["describe", "in_columns"]


async def describe(repository: Repository) -> str:
    """Describe a repository that is open, a fact a line."""
    universe = repository.universe
    lines = [
        ("repository", repository.name),
        ("root", repository.root),
        ("configuration", repository.config.file),
        ("registry", _registry(repository)),
        ("universe", f"{universe.namespace} {universe.version}"),
        *(("manager", line) for line in _managers(repository)),
        *(("datastore", line) for line in _datastores(repository.datastore)),
        *(("descriptions", line) for line in _descriptions(repository)),
        ("own state", await _state(repository)),
        ("writing", _writing(repository)),
        ("butlerql", f"{__version__}: can serve it"),
    ]
    return in_columns(lines)


def in_columns(lines: Sequence[tuple[str, str]]) -> str:
    """Write names and texts side by side, each name once."""
    width = max(len(name) for name, _ in lines)
    shown = []
    before = None
    for name, text in lines:
        shown.append(f"{'' if name == before else name:{width}}  {text}".rstrip())
        before = name
    return "\n".join(shown)


def _registry(repository: Repository) -> str:
    namespace = f", schema {repository.namespace}" if repository.namespace else ""
    return f"{repository.server}{namespace}"


def _descriptions(repository: Repository) -> Iterator[str]:
    problems = repository.descriptions.refresh()
    yield from (f"{number} in {file}" for file, number in repository.descriptions.counts().items())
    yield from problems
    if not problems and not repository.descriptions.counts():
        yield "none"


def _managers(repository: Repository) -> Iterator[str]:
    managers = repository.managers
    for role, name in sorted(managers.classes.items()):
        version = managers.versions[role]
        yield f"{role}: {name} {version}".rstrip()


def _datastores(datastore: Datastore, indent: str = "") -> Iterator[str]:
    if isinstance(datastore, FileDatastore):
        yield f"{indent}{datastore.name} at {datastore.root}"
    elif isinstance(datastore, ChainedDatastore):
        yield f"{indent}chain of {len(datastore.children)}:"
        for child in datastore.children:
            yield from _datastores(child, indent + "  ")
    else:
        yield f"{indent}in memory: nothing of it can be seen from here"


async def _state(repository: Repository) -> str:
    state = repository.state
    try:
        revision = await state.revision()
    except ButlerQLError as error:
        return str(error)
    if revision is None:
        return f"none yet; would be {state.place}"
    return f"{state.place}, revision {revision}"


def _writing(repository: Repository) -> str:
    obstacles = repository.write_obstacles
    return f"not possible: {'; '.join(obstacles)}" if obstacles else "possible"
