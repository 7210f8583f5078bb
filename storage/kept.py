"""What was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

__all__ = ["Kept"]


class Kept:
    """Some things by key; when there are too many, what was not used for longest goes.

    Parameters
    ----------
    most
        How many.
    """

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._things: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """Give a thing; None if it is not there."""
        thing = self._things.get(key)
        if thing is not None:
            self._things.move_to_end(key)
        return thing

    def setdefault(self, key: Hashable, thing: Any) -> Any:
        """Keep a thing if there is none of this key; give the one that is kept."""
        self._things.setdefault(key, thing)
        self._things.move_to_end(key)
        if len(self._things) > self._most:
            self._things.popitem(last=False)
        return self.get(key)
