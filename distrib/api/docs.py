"""The API's documentation as a page: made here from the OpenAPI document, needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, render_template
from markupsafe import Markup, escape

from distrib.api.routes import PREFIX, Specification

_HERE = Path(__file__).parent
_CSP = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
_METHODS = ("get", "post", "put", "patch", "delete")
_BY_FORMAT = {"date-time": "2026-03-01T04:00:00Z", "date": "2026-03-01"}
_BY_TYPE: dict[str, Any] = {"string": "…", "integer": 0, "number": 0, "boolean": True}


def to_html(text: str) -> Markup:
    """Paragraphs, `code` and **strong** of a description."""
    safe = str(escape(text.strip()))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    safe = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
    return Markup("".join(f"<p>{each}</p>" for each in re.split(r"\n\s*\n", safe)))


@dataclass(frozen=True)
class FieldLine:
    """A line of the table that shows a schema, or a parameter."""

    name: str
    kind: str
    required: bool
    description: Markup


@dataclass(frozen=True)
class Reply:
    """A response: what it means and how it looks."""

    status: str
    meaning: str
    example: str | None
    fields: list[FieldLine]


@dataclass(frozen=True)
class Operation:
    """One operation, as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    description: Markup
    is_open: bool
    parameters: list[FieldLine]
    fields: list[FieldLine]
    curl: str
    replies: list[Reply]
    problems: list[Reply]


class Page:
    """The OpenAPI document, arranged for reading."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @cached_property
    def introduction(self) -> Markup:
        """What holds for all operations."""
        return to_html(self.document["info"]["description"])

    @cached_property
    def sections(self) -> list[tuple[str, Markup, list[Operation]]]:
        """Name, description and operations of each kind of thing."""
        found: dict[str, list[Operation]] = {tag["name"]: [] for tag in self.document["tags"]}
        for path, methods in self.document["paths"].items():
            for method in _METHODS:
                if method in methods:
                    shared = methods.get("parameters", [])
                    found[methods[method]["tags"][0]].append(
                        self._operation(path, method, methods[method], shared)
                    )
        return [
            (tag["name"], to_html(tag["description"]), found[tag["name"]])
            for tag in self.document["tags"]
        ]

    def _operation(
        self, path: str, method: str, given: dict[str, Any], shared: list[Any]
    ) -> Operation:
        body = _content(given.get("requestBody", {}))
        upload = next(iter(given.get("requestBody", {}).get("content", {})), "application/json")
        parameters = [*shared, *given.get("parameters", [])]
        replies = [self._reply(*each) for each in sorted(given["responses"].items())]
        return Operation(
            id=given["operationId"],
            method=method.upper(),
            path=path,
            summary=given["summary"],
            description=to_html(given.get("description", "")),
            is_open=given.get("security") == [],
            parameters=[self._parameter(each) for each in parameters],
            fields=list(self._fields(body.get("schema", {}))),
            curl=_curl(
                method.upper(), path, body.get("example"), given.get("security") != [], upload
            ),
            replies=[reply for reply in replies if reply.status < "4"],
            problems=[reply for reply in replies if reply.status >= "4"],
        )

    def _parameter(self, given: dict[str, Any]) -> FieldLine:
        place = "" if given["in"] == "query" else f", in the {given['in']}"
        return FieldLine(
            name=given["name"],
            kind=self._kind(given["schema"]) + place,
            required=given.get("required", False),
            description=to_html(given.get("description", given["schema"].get("description", ""))),
        )

    def _reply(self, status: str, given: dict[str, Any]) -> Reply:
        schema = _content(given).get("schema")
        example = None if schema is None else _pretty(self.example(schema))
        return Reply(status, given["description"], example, list(self._fields(schema or {})))

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema or len(schema.get("allOf", ())) == 1:
            if "$ref" in schema:
                name = schema["$ref"].rpartition("/")[2]
                schema = self.document["components"]["schemas"][name]
            else:
                schema = schema["allOf"][0]
        return schema

    def _fields(self, schema: dict[str, Any], prefix: str = "") -> Iterator[FieldLine]:
        """Every property of a schema, those of objects within it after it."""
        schema = self._resolve(schema)
        required = schema.get("required", [])
        for name, given in schema.get("properties", {}).items():
            resolved = self._resolve(given)
            yield FieldLine(
                name=prefix + name,
                kind=self._kind(given),
                required=name in required,
                description=to_html(given.get("description", "")),
            )
            path, inner = f"{prefix}{name}", resolved
            while "items" in inner:
                path, inner = f"{path}[]", self._resolve(inner["items"])
            yield from self._fields(inner, f"{path}.")

    def _kind(self, schema: dict[str, Any]) -> str:
        """Type and bounds of a value in a few words."""
        schema = self._resolve(schema)
        given = schema.get("type", "object")
        kinds = [given] if isinstance(given, str) else list(given)
        kinds[0] = {"date-time": "instant", "date": "day"}.get(schema.get("format", ""), kinds[0])
        if kinds[0] == "array":
            kinds[0] = f"list of {self._kind(schema.get('items', {}))}"
        text = " or ".join(kinds)
        if "enum" in schema:
            text = " · ".join(str(word) for word in schema["enum"] if word is not None)
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None and high is not None:
            text += f", {low:,} to {high:,}"
        if "maxLength" in schema:
            text += f", up to {schema['maxLength']:,} characters"
        if schema.get("default") is not None:
            text += f", default {schema['default']}"
        return text

    def example(self, schema: dict[str, Any]) -> Any:
        """A value that a schema describes."""
        known = {**self._resolve(schema), **schema}
        kind = known.get("type", "object")
        if "example" in known or "enum" in known:
            return known["example"] if "example" in known else known["enum"][0]
        if not isinstance(kind, str):
            return None  # one of the types is null
        if kind == "array":
            return [self.example(known["items"])]
        if kind == "object":
            return {name: self.example(each) for name, each in known.get("properties", {}).items()}
        return _BY_FORMAT.get(known.get("format", ""), _BY_TYPE[kind])


def _content(given: dict[str, Any]) -> dict[str, Any]:
    for content in given.get("content", {}).values():
        return dict(content)
    return {}


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _curl(method: str, path: str, example: Any, needs_key: bool, kind: str) -> str:
    lines = [f"curl {'' if method == 'GET' else f'-X {method} '}$HOST{path}"]
    if needs_key:
        lines.append('-H "Authorization: Bearer $KEY"')
    if method == "POST" and needs_key:
        lines.append('-H "Idempotency-Key: $(uuidgen)"')
    if kind != "application/json":
        lines += [f'-H "Content-Type: {kind}"', "--data-binary @FILE"]
    elif example is not None:
        quoted = _pretty(example).replace("'", "'\\''").replace("\n", "\n  ")
        lines.append(f"--json '{quoted}'")
    return " \\\n  ".join(lines)


def register(app: Flask, specification: Specification) -> None:
    """Serve the page of ``specification`` at ``/docs`` below the API."""
    blueprint = Blueprint(
        "docs",
        __name__,
        url_prefix=f"{PREFIX}/docs",
        template_folder=str(_HERE / "templates"),
        static_folder=str(_HERE / "static"),
        static_url_path="/static",
    )
    page = Page(specification.spec.to_dict())

    @blueprint.get("")
    def show() -> Response:
        response = Response(render_template("api/docs.html", page=page, info=page.document["info"]))
        response.headers["Content-Security-Policy"] = _CSP
        return response

    app.register_blueprint(blueprint)
