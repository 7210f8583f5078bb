"""Every error that a client can meet, in one tree.

::

    ButlerQLError
    ├── RepositoryError              the repository cannot be opened or used
    │   ├── NotARepositoryError          NOT_A_REPOSITORY
    │   ├── InvalidConfigError           INVALID_CONFIG
    │   ├── UnsupportedRepositoryError   UNSUPPORTED_REPOSITORY
    │   ├── ConnectionFailedError        CONNECTION_FAILED
    │   │   └── UncertainError               it broke where nobody knows what had been done
    │   ├── NeedsRecoveryError           NEEDS_RECOVERY
    │   ├── ReadOnlyError                READ_ONLY
    │   └── BusyError                    BUSY
    ├── DatastoreError               a datastore's files cannot be looked at
    │   ├── UnavailableDatastoreError    DATASTORE_UNAVAILABLE
    │   └── UnreadableArtifactError      ARTIFACT_UNREADABLE
    ├── UnknownNameError             something named is not there
    │   ├── UnknownDatasetTypeError      UNKNOWN_DATASET_TYPE
    │   ├── UnknownComponentError        UNKNOWN_COMPONENT
    │   ├── UnknownCollectionError       UNKNOWN_COLLECTION
    │   ├── UnknownDimensionError        UNKNOWN_DIMENSION
    │   ├── UnknownDatastoreError        UNKNOWN_DATASTORE
    │   ├── UnknownJobError              UNKNOWN_JOB
    │   └── UnknownPlanError             UNKNOWN_PLAN
    ├── InvalidInputError            what was asked makes no sense
    │   ├── InvalidArgumentError         INVALID_ARGUMENT
    │   ├── InvalidDataIdError           INVALID_DATA_ID
    │   ├── InvalidExpressionError       INVALID_EXPRESSION
    │   ├── InvalidSourceError           INVALID_SOURCE
    │   ├── UnsupportedJoinError         UNSUPPORTED_JOIN
    │   └── BadCursorError               BAD_CURSOR
    ├── StateError                   what ButlerQL itself remembers cannot be used
    │   ├── StateUnavailableError        STATE_UNAVAILABLE
    │   └── StateVersionError            STATE_VERSION
    ├── ConflictError                CONFLICT
    ├── StalePlanError               STALE_PLAN
    ├── ForbiddenError               FORBIDDEN
    ├── AmbiguousCalibrationError    AMBIGUOUS_CALIBRATION
    ├── LimitExceededError           LIMIT_EXCEEDED
    └── TimedOutError                TIMED_OUT

A class with a code is what clients see as ``extensions.code``; codes never change.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AmbiguousCalibrationError",
    "BadCursorError",
    "BusyError",
    "ButlerQLError",
    "ConflictError",
    "ConnectionFailedError",
    "DatastoreError",
    "ForbiddenError",
    "InvalidArgumentError",
    "InvalidConfigError",
    "InvalidDataIdError",
    "InvalidExpressionError",
    "InvalidInputError",
    "InvalidSourceError",
    "LimitExceededError",
    "NeedsRecoveryError",
    "NotARepositoryError",
    "ReadOnlyError",
    "RepositoryError",
    "StalePlanError",
    "StateError",
    "StateUnavailableError",
    "StateVersionError",
    "TimedOutError",
    "UnavailableDatastoreError",
    "UncertainError",
    "UnknownCollectionError",
    "UnknownComponentError",
    "UnknownDatasetTypeError",
    "UnknownDatastoreError",
    "UnknownDimensionError",
    "UnknownJobError",
    "UnknownNameError",
    "UnknownPlanError",
    "UnreadableArtifactError",
    "UnsupportedJoinError",
    "UnsupportedRepositoryError",
]


class ButlerQLError(Exception):
    """An error whose message may be shown to anybody: it says what is wrong and what to do next."""

    code: ClassVar[str]


class RepositoryError(ButlerQLError):
    """The repository cannot be opened or used."""


class NotARepositoryError(RepositoryError):
    """There is no repository at this place, or no such label."""

    code = "NOT_A_REPOSITORY"


class InvalidConfigError(RepositoryError):
    """The repository's configuration, or ours, cannot be understood."""

    code = "INVALID_CONFIG"


class UnsupportedRepositoryError(RepositoryError):
    """A repository of a kind, manager or version that this program does not know."""

    code = "UNSUPPORTED_REPOSITORY"


class ConnectionFailedError(RepositoryError):
    """The registry's database does not answer, or refuses us."""

    code = "CONNECTION_FAILED"


class UncertainError(ConnectionFailedError):
    """The connection broke while a change was committed: it was made wholly or not at all, and nobody knows which."""


class NeedsRecoveryError(RepositoryError):
    """A writer died and left a journal that somebody with write access must roll back."""

    code = "NEEDS_RECOVERY"


class ReadOnlyError(RepositoryError):
    """The repository cannot be changed from here."""

    code = "READ_ONLY"


class BusyError(RepositoryError):
    """Another program holds the database; trying again helps."""

    code = "BUSY"


class DatastoreError(ButlerQLError):
    """What a datastore keeps cannot be looked at."""


class UnavailableDatastoreError(DatastoreError):
    """There is no way from here to what a datastore keeps: something is not installed, or not configured."""

    code = "DATASTORE_UNAVAILABLE"


class UnreadableArtifactError(DatastoreError):
    """A file or object could not be looked at or read; that says nothing about whether it is there."""

    code = "ARTIFACT_UNREADABLE"


class UnknownNameError(ButlerQLError):
    """Something that was named is not there."""


class UnknownDatasetTypeError(UnknownNameError):
    """No dataset type of this name."""

    code = "UNKNOWN_DATASET_TYPE"


class UnknownComponentError(UnknownNameError):
    """The storage class of the dataset type has no such component."""

    code = "UNKNOWN_COMPONENT"


class UnknownCollectionError(UnknownNameError):
    """No collection of this name."""

    code = "UNKNOWN_COLLECTION"


class UnknownDimensionError(UnknownNameError):
    """No dimension or dimension element of this name in the repository's universe."""

    code = "UNKNOWN_DIMENSION"


class UnknownDatastoreError(UnknownNameError):
    """No datastore of this name in the repository."""

    code = "UNKNOWN_DATASTORE"


class UnknownJobError(UnknownNameError):
    """No job with this id."""

    code = "UNKNOWN_JOB"


class UnknownPlanError(UnknownNameError):
    """No plan of a deletion with this id."""

    code = "UNKNOWN_PLAN"


class InvalidInputError(ButlerQLError):
    """What was asked makes no sense."""


class InvalidArgumentError(InvalidInputError):
    """An argument that cannot be used, alone or with the others."""

    code = "INVALID_ARGUMENT"


class InvalidDataIdError(InvalidInputError):
    """A data ID with unknown keys, missing values, or values that contradict the records."""

    code = "INVALID_DATA_ID"


class InvalidExpressionError(InvalidInputError):
    """A condition that cannot be parsed, names what is not there, or compares what cannot be compared.

    Parameters
    ----------
    message
        What is wrong, where, and what is allowed there.
    position
        Where in the text it is, in characters from 0; None where there is no text, as in a typed filter.
    """

    code = "INVALID_EXPRESSION"

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class InvalidSourceError(InvalidInputError):
    """What provenance was to be read from is nothing of that kind, or damaged."""

    code = "INVALID_SOURCE"


class UnsupportedJoinError(InvalidInputError):
    """Dimensions that nothing in the registry relates to each other, or more than one thing does."""

    code = "UNSUPPORTED_JOIN"


class BadCursorError(InvalidInputError):
    """A cursor that is malformed, or belongs to another connection, order or filter."""

    code = "BAD_CURSOR"


class StateError(ButlerQLError):
    """What ButlerQL itself remembers of a repository cannot be used; the repository can be read all the same."""


class StateUnavailableError(StateError):
    """The own state is not there and cannot be made, does not answer, or refuses us."""

    code = "STATE_UNAVAILABLE"


class StateVersionError(StateError):
    """The own state was made by an earlier or a newer ButlerQL."""

    code = "STATE_VERSION"


class ConflictError(ButlerQLError):
    """A change that contradicts what is there; nothing was changed."""

    code = "CONFLICT"


class StalePlanError(ButlerQLError):
    """A plan that is not as it has to be any more: expired, carried out, or undone."""

    code = "STALE_PLAN"


class ForbiddenError(ButlerQLError):
    """Whoever asks may not do that here."""

    code = "FORBIDDEN"


class AmbiguousCalibrationError(ButlerQLError):
    """More than one certified dataset fits, as where the Butler raises CalibrationLookupError."""

    code = "AMBIGUOUS_CALIBRATION"


class LimitExceededError(ButlerQLError):
    """A request that asks for more than the settings allow."""

    code = "LIMIT_EXCEEDED"


class TimedOutError(ButlerQLError):
    """The request took longer than its time budget."""

    code = "TIMED_OUT"
