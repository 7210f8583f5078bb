"""How the tables of the own state came to be what they are; Alembic runs it."""
