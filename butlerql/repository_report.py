"""What ``butlerql check`` says about a repository."""

from __future__ import annotations

from collections.abc import Iterator

from butlerql import __version__
from butlerql.storage.datastores.tree import ChainedDatastore, Datastore, FileDatastore
from butlerql.storage.errors import ButlerQLError
from butlerql.storage.repository import Repository

__all__ = ["describe"]


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
        ("own state", await _state(repository)),
        ("writing", _writing(repository)),
        ("butlerql", f"{__version__}: can serve it"),
    ]
    width = max(len(name) for name, _ in lines)
    shown = []
    before = None
    for name, text in lines:
        shown.append(f"{'' if name == before else name:{width}}  {text}")
        before = name
    return "\n".join(shown)


def _registry(repository: Repository) -> str:
    namespace = f", schema {repository.namespace}" if repository.namespace else ""
    return f"{repository.server}{namespace}"


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
