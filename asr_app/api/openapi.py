"""The API's description: `/openapi.json` for programs, `/docs/api` for people. The page is made on the server, without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


def routes(described: Sequence[BaseRoute]) -> list[BaseRoute]:
    """The two routes, for an API of the `described` ones."""
    made = specification(described)

    def machine(request: Request) -> Response:
        return JSONResponse(made | {"servers": [{"url": request.scope.get("root_path") or "/"}]})

    def people() -> Response:
        return HTMLResponse(page(made), headers={"Content-Security-Policy": _POLICY})

    return [
        APIRoute("/openapi.json", machine, response_model=None),
        APIRoute("/docs/api", people, response_model=None),
    ]


def specification(described: Sequence[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    made = get_openapi(title="Speech recognition", version="1", routes=described)
    for operations in made["paths"].values():
        for operation in operations.values():
            # FastAPI adds its own answer to a malformed parameter. All of ours are strings, which cannot be.
            if "HTTPValidationError" in json.dumps(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
    components = made["components"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return made | {"security": [{"key": []}]}


def page(made: Mapping[str, Any]) -> str:
    """The description as an HTML page."""
    parts = [f"<h1>{escape(made['info']['title'])}: API</h1>"
             "<p>For programs: <a href='../openapi.json'>openapi.json</a>. Keys are sent as "
             "<code>Authorization: Bearer KEY</code>.</p>"]  # fmt: skip
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            parts += _operation(path, method, operation)
    parts.append("<h1>Types</h1>")
    for name, schema in made["components"]["schemas"].items():
        parts.append(f"<h2 id='{escape(name)}'>{escape(name)}</h2>{_paragraph(schema)}{_fields(schema)}")
    return _FRAME.replace("CONTENT", "".join(parts))


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}.</p>"
    if parameters := operation.get("parameters"):
        rows = ((p["name"], p["in"], _type(p["schema"]), "") for p in parameters)
        yield _table(("parameter", "in", "", ""), rows)
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(kind)}</code>. {escape(content['schema'].get('description', ''))}</p>"
        yield _fields(content["schema"])
    rows = (
        (status, escape(answer["description"]), ", ".join(f"<code>{escape(kind)}</code>" for kind in answer.get("content", {})),
         " ".join(_type(c["schema"]) for c in answer.get("content", {}).values() if "description" not in c["schema"]))
        for status, answer in operation["responses"].items()
    )  # fmt: skip
    yield _table(("answer", "", "", ""), rows)


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (name, _type(field), "needed" if name in required else _default(field), escape(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    )
    return _table(("field", "type", "", ""), rows)


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    return "" if default in (None, "", []) else f"default <code>{escape(json.dumps(default))}</code>"


def _type(schema: Mapping[str, Any]) -> str:
    if reference := schema.get("$ref"):
        name = escape(reference.rsplit("/", 1)[-1])
        return f"<a href='#{name}'>{name}</a>"
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " | ".join(f"<code>{escape(str(choice))}</code>" for choice in choices)
    if options := schema.get("anyOf"):
        return " | ".join(_type(option) for option in options)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return escape(schema.get("format") or schema.get("type", "any"))


def _paragraph(schema: Mapping[str, Any]) -> str:
    return f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>API</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 20px; color-scheme: light dark; }
h2 { margin: 2em 0 0.4em; font-size: 1.1em; } table { border-collapse: collapse; margin: 0.6em 0; } th { text-align: left; }
td, th { border-bottom: 1px solid #8884; padding: 3px 14px 3px 0; vertical-align: top; }
</style></head><body><main>CONTENT</main></body></html>"""
