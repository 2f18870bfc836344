"""Reading a request: JSON as it is meant, and the parser that holds it against a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from flask import Request
from marshmallow import RAISE, Schema, ValidationError
from webargs.flaskparser import FlaskParser
from webargs.multidictproxy import MultiDictProxy
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from distrib.api.problems import FieldsInvalid, flatten
from distrib.errors import DistribError

# what no column can keep: NUL, and half of a surrogate pair. Both can only come as escapes.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class NotJson(DistribError):
    """The body cannot be read."""

    status = 400
    title = "The body is not valid JSON"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def read_json(request: Request) -> Any:
    """The request's body; an empty one is an empty object.

    :raises NotJson: saying where it goes wrong.
    :raises FieldsInvalid: when a text in it cannot be kept.
    """
    data = request.get_data(cache=True)
    if not data:
        return {}
    if request.content_length is None and len(data) == request.max_content_length:
        # of a body of unknown length Werkzeug reads as much as it may, and says nothing
        raise RequestEntityTooLarge
    if not request.is_json:
        raise UnsupportedMediaType("send the body as Content-Type: application/json")
    try:
        document = _decoder.decode(data.decode())
    except RecursionError:
        raise NotJson("the body is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8: byte {error.start}") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    if _SUSPICIOUS.search(data):
        places = list(_unstorable(document, ""))
        if places:
            reason = "has a NUL character or half of a surrogate pair"
            raise FieldsInvalid([{"field": place, "reason": reason} for place in places])
    return document


def _unstorable(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            yield path or "body"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if _UNSTORABLE.search(key):
                yield f"{path}.{key!a}".lstrip(".")
            else:
                yield from _unstorable(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _unstorable(inner, f"{path}[{i}]")


class Parser(FlaskParser):
    """webargs, with our reading of JSON and our errors. A key that nobody asked for is one."""

    DEFAULT_UNKNOWN_BY_LOCATION = FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION | {"query": RAISE}

    def load_json(self, req: Request, *_: Any) -> Any:
        """The body."""
        return read_json(req)

    def load_querystring(self, req: Request, schema: Schema) -> MultiDictProxy:
        """The query."""
        bad = [name for name, value in req.args.items(multi=True) if "\x00" in value]
        if bad:
            raise FieldsInvalid([{"field": name, "reason": "has a NUL character"} for name in bad])
        return self._makeproxy(req.args, schema)

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> NoReturn:
        """All that is wrong, field by field."""
        ((place, messages),) = error.messages_dict.items()
        whole = "body" if place == "json" else place
        raise FieldsInvalid(flatten(messages, whole)) from None
