"""What somebody may do."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CHANGING", "Scope", "granted_scopes"]


class Scope(StrEnum):
    """What somebody may do; each mutation needs one."""

    READ = "READ"
    TAG = "TAG"
    VALIDATE = "VALIDATE"
    DELETE = "DELETE"
    INGEST = "INGEST"
    ADMIN = "ADMIN"


CHANGING = frozenset({Scope.TAG, Scope.DELETE})
"""What changes a repository, and is worth nothing where that is served to be read only."""


def granted_scopes(*, writable: bool) -> frozenset[Scope]:
    """Give what everybody may do where operators say nothing else."""
    return frozenset(Scope) - {Scope.ADMIN} if writable else frozenset({Scope.READ, Scope.VALIDATE})
