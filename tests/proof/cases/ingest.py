"""Files in."""

from pathlib import Path

from tests.proof.cases.catalog import manifest
from tests.proof.evidence import Exchange, Proof, case, field

WORKERS = Path(__file__).parents[1] / "fixtures" / "workers.csv"


def ingest_workers(proof: Proof, name: str) -> Exchange:
    file = {"file": (WORKERS.name, WORKERS.read_bytes(), "text/csv")}
    return proof.send("POST", "/v1/ingest", params={"name": name}, files=file)


@case("GOLAKE-030")
def a_csv_becomes_parquet(proof: Proof) -> None:
    name = proof.name("workers")

    loaded = ingest_workers(proof, name)
    proof.check("ingest", 200, loaded.status, loaded)
    proof.check("rows", 5, field(loaded.json(), "row_count"), loaded)
    proof.check("existing", False, field(loaded.json(), "existing"), loaded)
    read = manifest(proof, name)
    proof.check("manifest", 200, read.status, read)
    proof.check("rows in the manifest", 5, field(read.json(), "row_count"), read)
    fingerprints = [field(each.json(), "schema_fingerprint") for each in (loaded, read)]
    proof.check("the same fingerprint", fingerprints[0], fingerprints[1], read)
    objects = field(read.json(), "objects")
    keys = [str(field(each, "key")) for each in objects] if isinstance(objects, list) else []
    proof.check(
        "the objects are Parquet files",
        "one key or more, each ending in .parquet",
        keys,
        read,
        holds=lambda keys: bool(keys) and all(key.endswith(".parquet") for key in keys),
    )
