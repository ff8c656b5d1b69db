"""What is wrong is refused, with a reason."""

from tests.proof.cases.storage import get
from tests.proof.evidence import Exchange, Proof, case

MALFORMED = b'{"name": "x", '
BAD_SQL = {
    "a misspelt keyword": "SELEKT 1",
    "an unknown table": "SELECT * FROM there_is_no_such_table",
    "an unknown column": "SELECT nothing",
    "no SQL at all": "",
}


def refused(proof: Proof, what: str, seen: Exchange) -> None:
    proof.check(f"{what}: status", 400, seen.status, seen)
    proof.check(f"{what}: a reason", "some text", seen.problem_detail, seen, holds=bool)


@case("GOLAKE-080")
def malformed_bodies_are_refused(proof: Proof) -> None:
    for path in ("/v1/catalog/register", "/v1/sql", "/v1/embed"):
        headers = {"Content-Type": "application/json"}
        seen = proof.send("POST", path, content=MALFORMED, headers=headers)
        refused(proof, path, seen)
    headers = {"Content-Type": "multipart/form-data; boundary=proof"}
    seen = proof.send(
        "POST",
        "/v1/ingest",
        params={"name": proof.name("malformed")},
        content=b"--proof\r\nthis is no part",
        headers=headers,
    )
    refused(proof, "/v1/ingest", seen)


@case("GOLAKE-082")
def bad_sql_is_refused(proof: Proof) -> None:
    for what, text in BAD_SQL.items():
        refused(proof, what, proof.send("POST", "/v1/sql", json={"sql": text}))


@case("GOLAKE-084")
def a_missing_object_is_not_found(proof: Proof) -> None:
    key = proof.name("never-put")
    seen = get(proof, key)
    proof.check("status", 404, seen.status, seen)
    proof.check(
        "a reason", "one that names the key", seen.problem_detail, seen, holds=lambda d: key in d
    )
