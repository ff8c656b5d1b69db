"""SQL out."""

from tests.proof.cases.ingest import ingest_workers
from tests.proof.evidence import Exchange, Proof, case, field

ANSWERS = {
    "how many": ("SELECT count(*) FROM {t}", 5),
    "how many in Chicago": ("SELECT count(*) FROM {t} WHERE city = 'Chicago'", 2),
    "the best score": ("SELECT max(score) FROM {t}", 95),
    "who has the safety certificate": (
        "SELECT name FROM {t} WHERE certificate = 'safety'",
        "Barbara",
    ),
    "Houston's average": ("SELECT avg(score) FROM {t} WHERE city = 'Houston'", 89.5),
}


def sql(proof: Proof, text: str) -> Exchange:
    return proof.send("POST", "/v1/sql", json={"sql": text})


@case("GOLAKE-040")
def five_answers_about_five_workers(proof: Proof) -> None:
    table = proof.name("workers")
    loaded = ingest_workers(proof, table)
    proof.check("ingest", 200, loaded.status, loaded)

    for what, (text, expected) in ANSWERS.items():
        seen = sql(proof, text.format(t=table))
        proof.check(f"{what}: status", 200, seen.status, seen)
        proof.check(what, [[expected]], field(seen.json(), "rows"), seen)
        proof.check(f"{what}: row_count", 1, field(seen.json(), "row_count"), seen)
