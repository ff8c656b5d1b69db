"""Datasets are registered once, and stay what they were registered as."""

import io
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from tests.proof.cases.storage import put
from tests.proof.evidence import Exchange, Proof, case, field

# The contract's own namespace: an id can be computed anywhere.
DATASET_NAMESPACE = uuid.UUID("a8f3c1d2-4e5b-5a6c-9d8e-7f0a1b2c3d4e")
FIRST, OTHER = "1" * 64, "2" * 64


def register(proof: Proof, name: str, fingerprint: str = FIRST, **members: object) -> Exchange:
    body = {"name": name, "schema_fingerprint": fingerprint, "objects": [], **members}
    return proof.send("POST", "/v1/catalog/register", json=body)


def manifest(proof: Proof, name: str) -> Exchange:
    route = "/v1/catalog/manifest/{name}"
    return proof.send("GET", f"/v1/catalog/manifest/{name}", route=route)


@case("GOLAKE-020")
def registering_twice_makes_one(proof: Proof) -> None:
    name = proof.name("twice")

    first = register(proof, name)
    again = register(proof, name)

    proof.check("first status", 200, first.status, first)
    proof.check("first existing", False, field(first.json(), "existing"), first)
    proof.check("second status", 200, again.status, again)
    proof.check("second existing", True, field(again.json(), "existing"), again)
    ids = [field(each.json(), "dataset_id") for each in (first, again)]
    proof.check("the same dataset_id", ids[0], ids[1], again)


@case("GOLAKE-021")
def a_manifest_reads_back(proof: Proof) -> None:
    name = proof.name("manifest")
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 3], "city": ["Lyon", "Oslo", None]}), file)
    key = f"{name}/part.parquet"
    put(proof, key, file.getvalue())

    registered = register(proof, name, objects=[{"key": key}], row_count=3)
    proof.check("register", 200, registered.status, registered)
    read = manifest(proof, name)
    body = read.json()
    proof.check("manifest", 200, read.status, read)
    proof.check("name", name, field(body, "name"), read)
    proof.check("schema_fingerprint", FIRST, field(body, "schema_fingerprint"), read)
    proof.check("row_count", 3, field(body, "row_count"), read)
    objects = field(body, "objects")
    found = (
        [(field(each, "key"), field(each, "size")) for each in objects]
        if isinstance(objects, list)
        else objects
    )
    proof.check("objects", [(key, len(file.getvalue()))], found, read)


@case("GOLAKE-022")
def the_list_contains_it(proof: Proof) -> None:
    name = proof.name("listed")
    register(proof, name)

    listed = proof.send("GET", "/v1/catalog/list")
    proof.check("status", 200, listed.status, listed)
    manifests = field(listed.json(), "manifests")
    names = [field(each, "name") for each in manifests] if isinstance(manifests, list) else []
    proof.check("listed once", 1, names.count(name), listed)


@case("ADR-020-drift")
def another_fingerprint_is_refused(proof: Proof) -> None:
    name = proof.name("drift")
    register(proof, name)

    drifted = register(proof, name, OTHER)
    proof.check("status", 409, drifted.status, drifted)
    proof.check("a reason", "some text", drifted.problem_detail, drifted, holds=bool)


@case("ADR-020-again")
def a_refused_drift_changes_nothing(proof: Proof) -> None:
    name = proof.name("again")
    first = register(proof, name)
    register(proof, name, OTHER)

    again = register(proof, name)
    proof.check("status", 200, again.status, again)
    proof.check("existing", True, field(again.json(), "existing"), again)
    read = manifest(proof, name)
    for member in ("dataset_id", "schema_fingerprint", "created_at", "updated_at"):
        was, now = field(first.json(), member), field(read.json(), member)
        proof.check(f"{member} as it was", was, now, read)


@case("ADR-020-id")
def an_id_is_made_from_the_name(proof: Proof) -> None:
    name = proof.name("id")
    computed = str(uuid.uuid5(DATASET_NAMESPACE, name))

    registered = register(proof, name)
    proof.check("dataset_id", computed, field(registered.json(), "dataset_id"), registered)
