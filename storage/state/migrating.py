"""Alembic, which takes a third of a second to import and is needed only where tables are made or changed."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

__all__ = ["configuration", "migrate"]


def configuration() -> Config:
    """Give what Alembic has to know."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def migrate(connection: sa.Connection) -> None:
    """Make the tables, or bring them up to date, within the connection's transaction."""
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
