"""Objects in, objects out."""

import random

from tests.proof.evidence import Exchange, Proof, case, field, sha256

SIZE_BYTES = 1024


def put(proof: Proof, key: str, body: bytes) -> Exchange:
    return proof.send("PUT", f"/v1/storage/put/{key}", route="/v1/storage/put/{key}", content=body)


def get(proof: Proof, key: str) -> Exchange:
    return proof.send("GET", f"/v1/storage/get/{key}", route="/v1/storage/get/{key}")


def delete(proof: Proof, key: str) -> Exchange:
    return proof.send("DELETE", f"/v1/storage/delete/{key}", route="/v1/storage/delete/{key}")


@case("GOLAKE-010")
def an_object_comes_back(proof: Proof) -> None:
    key, body = f"{proof.name('round')}/a.bin", random.Random(10).randbytes(SIZE_BYTES)

    stored = put(proof, key, body)
    proof.check("PUT", 200, stored.status, stored)
    proof.check("key", key, field(stored.json(), "key"), stored)
    proof.check("size", SIZE_BYTES, field(stored.json(), "size"), stored)
    found = get(proof, key)
    proof.check("GET", 200, found.status, found)
    proof.check("SHA-256", sha256(body), sha256(found.response_body), found)
    delete(proof, key)


@case("GOLAKE-011")
def a_listing_names_it(proof: Proof) -> None:
    key = f"{proof.name('list')}/a.bin"
    put(proof, key, b"here")

    listed = proof.send(
        "GET",
        "/v1/storage/list",
        params={"prefix": key.rpartition("/")[0]},
    )
    proof.check("status", 200, listed.status, listed)
    objects = field(listed.json(), "objects")
    keys = [field(each, "key") for each in objects] if isinstance(objects, list) else objects
    proof.check("keys under the prefix", [key], keys, listed)
    delete(proof, key)


@case("GOLAKE-012")
def a_deleted_object_is_gone(proof: Proof) -> None:
    key = f"{proof.name('gone')}/a.bin"
    put(proof, key, b"soon gone")

    deleted = delete(proof, key)
    proof.check("DELETE", 204, deleted.status, deleted)
    missing = get(proof, key)
    proof.check("GET", 404, missing.status, missing)
