"""What dataset types are, as was said through the service; it wins over what is written in files."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import StateError
from butlerql.storage.state.database import State, Work
from butlerql.storage.state.tables import DESCRIPTION

__all__ = ["describe_dataset_type", "descriptions_of_dataset_types"]

_log = logging.getLogger(__name__)


async def descriptions_of_dataset_types(state: State) -> dict[str, str]:
    """Read all texts, by name of the dataset type; none, and a line in the log, if the state cannot be used."""

    async def find(connection: AsyncConnection) -> dict[str, str]:
        found = await connection.execute(sa.select(DESCRIPTION.c.dataset_type, DESCRIPTION.c.text))
        return {row.dataset_type: row.text for row in found}

    try:
        return await state.read(find, absent={})
    except StateError as error:
        _log.warning("Only files describe dataset types: %s", error)
        return {}


def describe_dataset_type(name: str, text: str | None) -> Work[None]:
    """Give what says what a dataset type is, in place of what was said; None leaves it to the files."""

    async def replace(connection: AsyncConnection) -> None:
        await connection.execute(sa.delete(DESCRIPTION).where(DESCRIPTION.c.dataset_type == name))
        if text is not None:
            await connection.execute(sa.insert(DESCRIPTION).values(dataset_type=name, text=text))

    return replace
