"""Arguments of connections that narrow them down, or put them in another order."""

from __future__ import annotations

from typing import Annotated

import strawberry

from butlerql.schema.filters import DataIdFilter
from butlerql.schema.scalars import JSON

__all__ = ["BIND", "FILTER", "WHERE", "Bind", "Filter", "OrderBy", "Where"]

WHERE = "The Butler's own expression language, `visit > 100 AND band IN ('r', 'i')`; null for no such condition."
BIND = "Values for identifiers preceded by a colon in `where`: a JSON object, identifier to value or list of values."
FILTER = "Conditions that the schema checks; null for none. They hold beside `where`."

Where = Annotated[str | None, strawberry.argument(description=WHERE)]
Bind = Annotated[JSON | None, strawberry.argument(description=BIND)]
Filter = Annotated[DataIdFilter | None, strawberry.argument(description=FILTER)]
OrderBy = Annotated[
    list[str] | None,
    strawberry.argument(
        description=(
            "What to order by, the most significant first: names as in `where` (`visit.exposure_time`), a `-` in front "
            "for descending order. Null for the default order."
        )
    ),
]
