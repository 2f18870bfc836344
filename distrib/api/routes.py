"""Declaring operations: who may call, what comes in, what goes out. OpenAPI says the same.

A :class:`Routes` is a flask-smorest blueprint whose :meth:`Routes.operation` puts the pieces on a
view function in one order, so that no operation can be without its check of the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask_smorest import Api, Blueprint  # type: ignore[import-untyped]
from marshmallow import Schema, fields

from distrib.api.context import Access, admit, brand
from distrib.api.fields import OPENAPI, Shape
from distrib.api.idempotency import HEADER, MOST_LETTERS, REPLAYED
from distrib.api.problems import CONTENT_TYPE as PROBLEM
from distrib.api.reading import Parser
from distrib.errors import NotFound

PREFIX = "/api/v1"

PLAIN: dict[str, Any] = {"type": "string"}
"""The shape of what is not JSON."""
BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
"""The shape of what is no text either."""

View = Callable[..., Any]
Shown = type[Schema] | dict[str, Any]
Answers = dict[int, tuple[Shown, str]]

_PATH = {
    "adjustment": "`adj_` id.",
    "brand": "The brand's slug.",
    "case": "`cas_` id.",
    "day": "Day where the brand lives, such as `2026-03-01`.",
    "key": "`key_` id.",
    "level": "Level, 1 to 3.",
    "line": "Line of the order, counted from 1.",
    "method": "`pm_` id.",
    "no": "Number of the payout within its batch, counted from 1.",
    "number": "Its number within the brand, counted from 1.",
    "order": "`ord_` id.",
    "other": "Number of the one to compare with.",
    "provider": "Name of the brand's payment provider.",
    "ref": "External id or `dst_` id of the distributor.",
    "slug": "The brand's slug.",
    "source": "`ord_` id of the order, or `ref_` id of the refund.",
    "statement": "`imp_` id.",
}


class FieldErrorSchema(Shape):
    """What is wrong with one field."""

    field = fields.String(required=True, metadata={"example": "lines[0].quantity"})
    reason = fields.String(required=True, metadata={"example": "must be an integer"})


class ProblemSchema(Shape):
    """What went wrong (RFC 9457)."""

    type = fields.String(
        required=True, metadata={"example": "urn:distrib:problem:unknown-distributor"}
    )
    title = fields.String(
        required=True, metadata={"example": "The referring distributor is unknown"}
    )
    status = fields.Integer(required=True, strict=True, metadata={"example": 422})
    detail = fields.String(
        required=True, metadata={"example": "the brand has no distributor 'anna'"}
    )
    errors = fields.List(
        fields.Nested(FieldErrorSchema),
        metadata={"description": "The fields to blame, where there are any."},
    )
    error_id = fields.String(metadata={"description": "Where the log tells more; on a 500."})


_KEY_PARAMETER = {
    "in": "header",
    "name": HEADER,
    "schema": {"type": "string", "minLength": 1, "maxLength": MOST_LETTERS},
    "description": "Sent again with the same key, the request happens once.",
}
_REPLAYED = {
    REPLAYED: {"description": "`true` on a kept answer.", "schema": {"type": "string"}},
}

_WHEN = {
    400: "The body is not JSON",
    401: "No valid API key",
    403: "A key for something else",
    404: "Not found in this brand",
    409: "Contradicts what is recorded",
    413: "The body is too large: JSON has 16 MiB at most",
    415: "The body is not sent as what it has to be",
    422: "A field is not valid",
    500: "Something is wrong on our side",
    503: "A needed service does not answer",
}


class Routes(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    """The operations on one kind of thing."""

    ARGUMENTS_PARSER = Parser()

    def operation(
        self,
        method: str,
        rule: str,
        answers: Answers,
        *,
        access: Access = Access.BRAND,
        query: type[Schema] | None = None,
        body: Schema | type[Schema] | None = None,
        shows: type[Schema] | None = None,
        example: Any = None,
        problems: tuple[int, ...] = (),
        content_type: str | tuple[str, ...] = "application/json",
        uploads: dict[str, str] | None = None,
    ) -> Callable[[View], View]:
        """Make a view function an operation of the API.

        The view is called with the caller's brand (when it takes a brand's key), then what the
        query and the body hold, then the variables of the path by name.

        :param answers: status → shape and meaning. A view that returns anything but a response has
            it written in the shape of the first.
        :param shows: the body of a view that reads it by itself.
        :param problems: statuses of errors beside those that follow from the rest.
        :param content_type: of what is answered; the first is that of what the view returns.
        :param uploads: content type → example of a body that is a file, which the view reads by
            itself.
        """
        kinds = (content_type,) if isinstance(content_type, str) else content_type
        # only a caller that is known can say the same thing twice
        keyed = method == "POST" and access is not Access.OPEN
        taken = {500, 503, *problems}
        taken |= set() if access is Access.OPEN else {401, 403}
        taken |= {400, 413, 415} if body or shows or uploads else set()
        taken |= {422} if query or body or keyed else set()
        headers = _REPLAYED if keyed else {}
        responses = {
            status: _documented(meaning, kinds, shape, headers)
            for status, (shape, meaning) in answers.items()
        } | {status: _documented(_WHEN[status], (PROBLEM,), ProblemSchema) for status in taken}
        manual: dict[str, Any] = {"responses": responses}
        if keyed:
            manual["parameters"] = [_KEY_PARAMETER]
        if access is Access.OPEN:
            manual["security"] = []
        if shows is not None:
            content = {"application/json": {"schema": shows, "example": example}}
            manual["requestBody"] = {"required": True, "content": content}
        if uploads is not None:
            manual["requestBody"] = {
                "required": True,
                "content": {
                    kind: {"schema": PLAIN, "example": text} for kind, text in uploads.items()
                },
            }
        variables = [
            {"in": "path", "name": name, "description": _PATH[name]}
            for name in re.findall(r"(\w+)>", rule)
        ]

        def declare(view: View) -> View:
            name = view.__name__
            status, (shape, meaning) = next(iter(answers.items()))
            made: View = self.response(status, shape, description=meaning, content_type=kinds[0])(
                view
            )
            if body is not None:
                made = self.arguments(body, location="json", example=example)(made)
            if query is not None:
                made = self.arguments(query, location="query")(made)
            made = _guard(self.doc(operationId=name, **manual)(made), access)
            self.add_url_rule(rule, name, made, methods=[method], parameters=variables)
            return view

        return declare


def _documented(
    meaning: str, kinds: tuple[str, ...], shape: Shown, headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A response as OpenAPI has it. A shape is that of JSON; anything else is a file."""
    shapes: dict[str, Shown] = dict.fromkeys(kinds, shape)
    if not isinstance(shape, dict):
        shapes |= {kind: BINARY for kind in kinds if not kind.endswith("json")}
    documented = {
        "description": meaning,
        "content": {kind: {"schema": each} for kind, each in shapes.items()},
    }
    return documented | ({"headers": headers} if headers else {})


def _guard(view: View, access: Access) -> View:
    @wraps(view)
    def guarded(**path: Any) -> Any:
        admit(access)
        if any(isinstance(value, str) and "\x00" in value for value in path.values()):
            raise NotFound("nothing has a name with a NUL character")
        return view(brand(), **path) if access is Access.BRAND else view(**path)

    return guarded


class Specification(Api):  # type: ignore[misc]  # flask-smorest has no types
    """flask-smorest, leaving errors to :mod:`distrib.api.problems`."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_ERROR_RESPONSE_NAME = None  # each operation names its own

    def _register_error_handlers(self) -> None:
        """Errors are handled already."""

    def _init_spec(self, **options: Any) -> None:
        super()._init_spec(**options)
        for field, openapi in OPENAPI.items():
            self.register_field(field, *openapi)
