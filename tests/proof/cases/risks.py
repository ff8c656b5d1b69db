"""What an audit of the system before this one found, each closed and shown from outside."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.proof.cases.refusals import refused
from tests.proof.evidence import Exchange, Proof, case, field

BODY_MAX_BYTES = 4 * 1024 * 1024
ITEMS = ("/add", "/documents")
ITEMS_MAX_BYTES = 64 * 1024 * 1024
"""Of the routes that take items for a collection."""
HOSTILE = (
    "it's",
    'say "hello"',
    "x; DROP TABLE y",
    "a -- b",
    "a /* b */",
    "../up",
    "naïve 🦆",
    "dots.in.it",
    "100%'",
    "`tick` $1 ? \\",
)


ADMINS_ONLY = "/v1/tokens"
"""Who may not ask there is refused before the body is read: `tests/auth/test_routes.py` may."""


@case("R-005")
def every_json_route_guards_its_body(proof: Proof) -> None:
    table = proof.name("guarded")
    columns = [{"name": "a", "type": "long"}]
    made = proof.send("POST", "/v1/tables", json={"name": table, "columns": columns})
    proof.check("a table to send to", 201, made.status, made)
    document = proof.send("GET", "/schema/openapi.json").json()
    found = [*json_routes(document), ("POST", "/v1/tables/{table}/rows", ["rows"])]
    routes = [each for each in found if not each[1].startswith(ADMINS_ONLY)]
    proof.check("routes that take JSON", "at least 15", len(routes), holds=lambda n: n >= 15)
    for method, template, required in routes:
        path = template.replace("{table}", table).replace("{ref}", "r")
        guards_its_body(proof, method, path, required)
    seen = proof.send("GET", "/v1/there-is-no-such-route")
    proof.check("no such route", 404, seen.status, seen)


def json_routes(document: Any) -> Iterator[tuple[str, str, list[str]]]:
    """Yield method, path and required fields of each route that takes JSON, as OpenAPI has it."""
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            if schema is not None and schema.get("format") != "binary":  # that is a file of JSON
                (schema,) = schema.get("allOf", [schema])
                named = schemas.get(schema.get("$ref", "").rpartition("/")[2], {})
                yield method.upper(), path, named.get("required", [])


def guards_its_body(proof: Proof, method: str, path: str, required: list[str]) -> None:
    what = f"{method} {path}"
    for name, content in {
        "cut off": b'{"name": ',
        "not JSON": b"name=x",
        "not an object": b"[]",
        "no UTF-8": b'{"\xff": 1}',
    }.items():
        refused(proof, f"{what}: {name}", proof.send(method, path, content=content))
    seen = proof.send(method, path, json={"not_a_field": 1})
    refused(proof, f"{what}: an unknown field", seen)
    names_one_of(proof, what, ["not_a_field"], seen)
    if required:
        seen = proof.send(method, path, json={})
        refused(proof, f"{what}: a missing field", seen)
        names_one_of(proof, what, required, seen)
    most = ITEMS_MAX_BYTES if path.endswith(ITEMS) else BODY_MAX_BYTES
    large = b'{"sql": "' + b"x" * most + b'"}'
    seen = proof.send(method, path, content=large)
    proof.check(f"{what}: a body over {most // 2**20} MiB", 413, seen.status, seen)


def names_one_of(proof: Proof, what: str, names: list[str], seen: Exchange) -> None:
    proof.check(
        f"{what}: names it",
        f"{' or '.join(names)} is in the problem",
        seen.response_body.decode(),
        seen,
        holds=lambda problem: any(name in problem for name in names),
    )


@case("R-009")
def a_hostile_name_is_only_a_name(proof: Proof) -> None:
    for number, hostile in enumerate(HOSTILE):
        name = f"{hostile} {proof.name(str(number))}"
        file = io.StringIO(newline="")
        csv.writer(file).writerows([[hostile, "n"], ["x", number]])
        loaded = proof.send(
            "POST",
            "/v1/ingest",
            params={"name": name},
            files={"file": ("rows.csv", file.getvalue(), "text/csv")},
        )
        if "/" in name:
            refused(proof, f"{hostile!r} as a table", loaded)
            continue
        proof.check(f"{hostile!r} as a table and a column", 200, loaded.status, loaded)
        text = f"SELECT {quoted(hostile)}, n FROM main.{quoted(name)}"
        seen = proof.send("POST", "/v1/sql", content=msgspec.json.encode({"sql": text}))
        proof.check(f"{hostile!r} in SQL", [["x", number]], field(seen.json(), "rows"), seen)


FOREIGN = {
    "a fetch of another page": {"Origin": "https://evil.example"},
    "a fetch of a page on another port": {"Origin": "http://localhost:1"},
    "a page without an origin": {"Origin": "null"},
    "an image of another page": {"Sec-Fetch-Site": "cross-site"},
}


@case("R-010")
def no_page_of_another_origin_is_answered(proof: Proof) -> None:
    asking = {"Access-Control-Request-Method": "POST"}
    for what, headers in FOREIGN.items():
        for method, path in (("GET", "/v1/tables"), ("POST", "/v1/sql"), ("OPTIONS", "/v1/sql")):
            sent = {**headers, **(asking if method == "OPTIONS" else {})}
            seen = proof.send(method, path, headers=sent)
            proof.check(f"{what}: {method} {path}", 403, seen.status, seen)
            proof.check(f"{what}: {method} {path} allows nothing", [], allowing(seen), seen)
    seen = proof.send("GET", "/v1/tables", headers={"Host": "somebody.example"})
    proof.check("a name that somebody points here", 403, seen.status, seen)
    seen = proof.send("GET", "/health", headers={"Origin": "https://evil.example"})
    proof.check("what is open to all allows no page to read it", [], allowing(seen), seen)
    seen = proof.send("GET", "/v1/tables")
    proof.check("who is no page", 200, seen.status, seen)


def allowing(seen: Exchange) -> list[str]:
    """Return the fields of an answer that let a page of another origin read it."""
    return [name for name in seen.response_headers if name.startswith("access-control")]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
