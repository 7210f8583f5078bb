"""Pages that may ask for changes.

A browser lets any page talk to a service under that page's own name, also where somebody lets the name lead to this
machine. It says which page asks, in the header ``Origin``; programs do not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from butlerql.request_errors import Code, RequestError

__all__ = ["refuse_foreign_page"]


def refuse_foreign_page(origin: str | None, known: Collection[str]) -> None:
    """Refuse a change that a page asks for, unless it came from this machine or is known.

    Parameters
    ----------
    origin
        The header, if there is one.
    known
        Origins of other pages that may: ``https://butler.example.org``.

    Raises
    ------
    RequestError
        Raised if it may not.
    """
    if origin is None or origin.rstrip("/").lower() in {one.rstrip("/").lower() for one in known}:
        return
    if not _is_of_this_machine(origin):
        raise RequestError(
            Code.FORBIDDEN,
            f"A page of {origin[:200]!r} may not change anything here. If it should, name it in the setting `origins`.",
            403,
        )


def _is_of_this_machine(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
