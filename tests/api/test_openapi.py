"""The OpenAPI document says what the app does, and the page shows what the document says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from distrib.api.docs import to_html
from tests.api.contract import Contract

_METHODS = ("get", "post", "put", "patch", "delete")


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def test_the_document_has_its_parts(contract: Contract) -> None:
    document = contract.document
    assert document["openapi"].startswith("3.1")
    assert {"title", "version", "description"} <= document["info"].keys()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in _operations(document):
        assert operation["tags"][0] in tags, (path, method)
        assert operation["summary"], (path, method)
    for reference in _references(document):
        assert reference.startswith("#/components/schemas/")
        assert contract.schema(reference.rpartition("/")[2])


def test_operation_ids_are_unique(contract: Contract) -> None:
    names = [operation["operationId"] for *_, operation in _operations(contract.document)]
    assert len(names) == len(set(names))


def test_every_route_is_documented(app: Flask, contract: Contract) -> None:
    documented = {(path, method) for path, method, _ in _operations(contract.document)}
    routed = {
        (re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint.partition(".")[0] not in {"docs", "api-docs"}
    }
    assert documented == routed


def test_every_operation_tells_its_parameters_and_errors(contract: Contract) -> None:
    for path, method, operation in _operations(contract.document):
        shared = contract.document["paths"][path].get("parameters", [])
        parameters = [*shared, *operation.get("parameters", [])]
        inside = {each["name"] for each in parameters if each["in"] == "path"}
        assert inside == set(re.findall(r"{(\w+)}", path)), path
        for each in parameters:
            assert each["schema"], (path, each["name"])
            assert each["in"] != "path" or each["description"], (path, each["name"])
        headers = {each["name"] for each in parameters if each["in"] == "header"}
        keyed = method == "post" and operation.get("security") != []
        assert ("Idempotency-Key" in headers) == keyed, path
        statuses = operation["responses"].keys()
        assert "500" in statuses, path
        assert operation.get("security") == [] or {"401", "403"} <= statuses, path
        for status, response in operation["responses"].items():
            assert response["description"], (path, status)
            kinds = list(response["content"])
            assert kinds, (path, status)
            if status >= "4":
                assert kinds == ["application/problem+json"], (path, status)
            else:
                assert "application/problem+json" not in kinds, (path, status)


def test_examples_are_what_they_are_examples_of(contract: Contract) -> None:
    shown = 0
    for path, _, operation in _operations(contract.document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert list(contract.problems(content["schema"], content["example"])) == [], path
            shown += 1
    assert shown >= 30


@pytest.mark.parametrize(
    "path, body",
    [("/api/v1/orders", "OrderIn"), ("/api/v1/orders/batch", "OrderBatch")],
)
def test_bodies_are_strict_schemas(contract: Contract, path: str, body: str) -> None:
    content = contract.document["paths"][path]["post"]["requestBody"]["content"]
    assert content["application/json"]["schema"]["$ref"].endswith(f"/{body}")
    assert contract.schema(body)["additionalProperties"] is False


def test_the_page_shows_every_operation_and_needs_no_network(
    app: Flask, contract: Contract
) -> None:
    response = app.test_client().get("/api/v1/docs")
    page = response.get_data(as_text=True)
    for path, _, operation in _operations(contract.document):
        assert f'id="{operation["operationId"]}"' in page
        assert path in page
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert all(link.startswith(("#", "/api/v1/")) for link in links)
    assert "<script" not in page
    for link in links:
        if not link.startswith("#"):
            with app.test_client().get(link) as found:
                assert found.status_code == 200
    inside = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert inside <= set(re.findall(r'id="([^"]+)"', page))


def test_descriptions_are_escaped() -> None:
    html = to_html("a `<b>` & **c**\n\nd")
    assert html == "<p>a <code>&lt;b&gt;</code> &amp; <strong>c</strong></p><p>d</p>"
