"""What an audit of the system before this one found, each closed and shown from outside."""

import csv
import io

import msgspec

from tests.proof.cases.refusals import refused
from tests.proof.evidence import Proof, case, field

BODY_MAX_BYTES = 4 * 1024 * 1024
JSON_ROUTES: dict[str, dict[str, object]] = {
    "/v1/catalog/register": {"name": "x", "schema_fingerprint": "y"},
    "/v1/sql": {"sql": "SELECT 1"},
    "/v1/tables": {"name": "x", "columns": [{"name": "a", "type": "long"}]},
    "/v1/namespaces": {"name": "x"},
}
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


@case("R-005")
def every_json_route_guards_its_body(proof: Proof) -> None:
    for path, body in JSON_ROUTES.items():
        seen = proof.send("POST", path, json={**body, "not_a_field": 1})
        proof.check(f"{path}: an unknown field", 400, seen.status, seen)
        proof.check(
            f"{path}: names it",
            "not_a_field is in the problem",
            seen.response_body.decode(),
            seen,
            holds=lambda problem: "not_a_field" in problem,
        )
        large = b'{"sql": "' + b"x" * BODY_MAX_BYTES + b'"}'
        seen = proof.send("POST", path, content=large)
        proof.check(f"{path}: a body over 4 MiB", 413, seen.status, seen)
        refused(proof, f"{path}: not an object", proof.send("POST", path, content=b"[]"))
    seen = proof.send("GET", "/v1/there-is-no-such-route")
    proof.check("no such route", 404, seen.status, seen)


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


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
