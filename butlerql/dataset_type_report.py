"""What ``butlerql describe`` says about a dataset type."""

from __future__ import annotations

from butlerql.repository_report import in_columns
from butlerql.storage.registry.dataset_types import find
from butlerql.storage.repository import Repository
from butlerql.storage.state.descriptions import descriptions_of_dataset_types

__all__ = ["describe_dataset_type"]

_UNKNOWN = "nobody described it"


async def describe_dataset_type(repository: Repository, name: str) -> str:
    """Describe a dataset type, or a component of one, a fact a line.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError
        Raised if there is none of this name.
    """
    async with repository.snapshot() as snapshot:
        kind = await find(snapshot, name)
    descriptions = repository.descriptions
    said = await descriptions_of_dataset_types(repository.state)
    text = said.get(kind.name) or descriptions.of_dataset_type(kind.name) or _UNKNOWN
    storage_class = repository.storage_classes.get(kind.storage_class)
    of_class = descriptions.of_storage_class(storage_class.name)
    lines = [
        ("dataset type", kind.name),
        *(("description", line) for line in text.splitlines()),
        ("dimensions", ", ".join(kind.dimensions.required) or "none"),
        (
            "implied",
            ", ".join(name for name in kind.dimensions.names if name not in kind.dimensions.required) or "none",
        ),
        ("storage class", storage_class.name),
        *(("storage class", line) for line in (of_class or "").splitlines()),
        ("Python type", storage_class.pytype or "not known here"),
    ]
    return in_columns(lines)
