"""Global identifiers: a kind and a key, as one opaque word."""

from __future__ import annotations

import base64
import binascii

from butlerql.storage.errors import InvalidArgumentError

__all__ = ["decode", "digits", "encode"]


def encode(kind: str, key: str) -> str:
    """Make the identifier of something.

    Parameters
    ----------
    kind
        Name of its type in the schema.
    key
        What tells it from others of its kind, and stays the same as long as it exists.
    """
    return base64.urlsafe_b64encode(f"{kind}:{key}".encode()).decode().rstrip("=")


def decode(identifier: str) -> tuple[str, str]:
    """Take an identifier apart into kind and key.

    Raises
    ------
    InvalidArgumentError
        Raised if it is none.
    """
    try:
        padded = identifier + "=" * (-len(identifier) % 4)
        kind, colon, key = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        kind, colon, key = "", "", ""
    if not colon or not kind.isalpha():
        raise InvalidArgumentError("This is not an id. Use one that a field id gave, as it was given.")
    return kind, key


def digits(key: str) -> int | None:
    """Read the number that the key of an identifier is; None if it is none that the own state could have."""
    number = int(key) if key.isascii() and key.isdigit() and len(key) < 20 else None
    return number if number is not None and number < 2**63 else None
