"""Holding every response against the OpenAPI document that the app itself serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from distrib.api.problems import CONTENT_TYPE

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


class Contract:
    """What the API promises, and whether a response keeps it."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self.document: dict[str, Any] = app.test_client().get("/api/v1/openapi.json").json or {}

    def schema(self, name: str) -> dict[str, Any]:
        """A schema of the document by name."""
        found: dict[str, Any] = self.document["components"]["schemas"][name]
        return found

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The documented operation that serves the path, if one does."""
        adapter = self._app.url_map.bind("localhost")
        try:
            rule, _ = adapter.match(path.partition("?")[0], method, return_rule=True)
        except HTTPException:
            return None
        if rule.endpoint.partition(".")[0] in {"docs", "api-docs"}:
            return None
        template = "".join(
            f"{{{part}}}" if is_variable else part for is_variable, part in rule._trace
        ).removeprefix("|")
        found: dict[str, Any] = self.document["paths"][template][method.lower()]
        return found

    def check(self, method: str, path: str, response: TestResponse) -> None:
        """Assert that the response is one that the document describes."""
        operation = self.operation(method, path)
        status, kind = str(response.status_code), response.content_type.partition(";")[0]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if response.status_code >= 400:
            assert kind == CONTENT_TYPE
            assert response.json is not None
            assert response.json["status"] == response.status_code
            assert response.json["type"].startswith("urn:distrib:problem:")
        if operation is None:
            return
        assert status in operation["responses"], f"{method} {path} may not answer {status}"
        content = operation["responses"][status]["content"]
        assert kind in content, f"{method} {path} {status} may not be {kind}"
        if response.status_code == 204:
            assert response.data == b""
        elif kind in {"application/json", CONTENT_TYPE}:
            problems = list(self.problems(content[kind]["schema"], response.json))
            # a problem may say more than the shape has: RFC 9457 calls it an extension
            if kind == CONTENT_TYPE:
                problems = [each for each in problems if "is not known" not in each]
            assert not problems, f"{method} {path} {status}: {problems}"

    def problems(self, schema: dict[str, Any], value: Any, at: str = "") -> Iterator[str]:
        """How ``value`` differs from what ``schema`` describes."""
        if "$ref" in schema:
            schema = self.schema(schema["$ref"].rpartition("/")[2])
        for part in schema.get("allOf", []):
            yield from self.problems(part, value, at)
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(
            isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
            for kind in kinds
        ):
            yield f"{at} is no {kinds}: {value!r}"
        if "enum" in schema and value not in schema["enum"]:
            yield f"{at} is none of {schema['enum']}: {value!r}"
        if isinstance(value, dict) and "properties" in schema:
            known = schema["properties"]
            yield from (
                f"{at}.{name} is missing"
                for name in schema.get("required", [])
                if name not in value
            )
            for name, each in value.items():
                if name in known:
                    yield from self.problems(known[name], each, f"{at}.{name}")
                elif schema.get("additionalProperties") is False:
                    yield f"{at}.{name} is not known"
        if isinstance(value, list):
            for i, each in enumerate(value):
                yield from self.problems(schema.get("items", {}), each, f"{at}[{i}]")
