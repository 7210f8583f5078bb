"""The explorer page: its files, its settings, and the ready-made queries that it offers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphql import OperationDefinitionNode, parse
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from butlerql import __version__

__all__ = ["Assets", "explorer_page", "explorer_settings", "ready_made_queries"]

HERE = Path(__file__).parent
STATIC = HERE / "static"

# The editor sizes and colours its lines by style attributes, and runs its language services as workers.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>ButlerQL</title>
<body style="font: 16px/1.6 system-ui, sans-serif; max-width: 42em; margin: 4em auto; padding: 0 1em">
<h1>ButlerQL is running</h1>
<p>The explorer page has not been built in this installation. The API works all the same, at
<code>graphql</code> below this address.</p>
<p>To build the page in a source checkout, with Node.js 20 or later:</p>
<pre>cd web &amp;&amp; npm ci &amp;&amp; npm run build</pre>
<p>Or ask from a terminal:</p>
<pre>curl -H 'Content-Type: application/json' -d '{"query": "{ repository { name } }"}' \\
     ADDRESS/graphql</pre>
</body>
</html>
"""


class Assets(StaticFiles):
    """The scripts and styles of the page: their names change with their content, so browsers may keep them."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC / "assets", check_dir=False)

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """Serve a file, to be kept for good."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    async def check_config(self) -> None:
        """Do without the directory: a checkout without a build serves the API all the same."""


def explorer_page(static: Path = STATIC) -> Callable[[Request], Response]:
    """Make what answers with the page.

    Parameters
    ----------
    static
        Where the build is. Without one the page says so.
    """
    index = static / "index.html"
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}

    def page(request: Request) -> Response:
        content = index.read_text(encoding="utf-8") if index.is_file() else NOT_BUILT
        return HTMLResponse(content, headers=headers)

    return page


def explorer_settings(labels: list[str]) -> dict[str, Any]:
    """Tell the page what it cannot know: which repositories there are, and what may be asked of them.

    Parameters
    ----------
    labels
        Of the repositories served, the first one first.
    """
    return {
        "version": __version__,
        "repositories": [{"label": label, "endpoint": f"{label}/graphql"} for label in labels],
        "queries": list(ready_made_queries()),
    }


@functools.cache
def ready_made_queries() -> tuple[dict[str, str], ...]:
    """Read the queries that the project keeps ready: each one's name, what it answers, and its text."""
    text = (HERE / "queries.graphql").read_text(encoding="utf-8")
    found = []
    for definition in parse(text).definitions:
        assert isinstance(definition, OperationDefinitionNode)
        assert definition.name is not None
        assert definition.loc is not None
        description = definition.description.value if definition.description else ""
        start = definition.description.loc.end if definition.description and definition.description.loc else None
        query = text[start if start is not None else definition.loc.start : definition.loc.end].strip()
        found.append({"name": definition.name.value, "description": description, "query": query})
    return tuple(found)
