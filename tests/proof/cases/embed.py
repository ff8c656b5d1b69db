"""Texts become vectors, without any other server."""

import math
from typing import Any

from tests.proof.evidence import Proof, case

TEXTS = ["the lake is frozen", "ice covers the water", "quarterly revenue"]


@case("GOLAKE-050")
def vectors_are_what_they_say(proof: Proof) -> None:
    seen = proof.send("POST", "/v1/embed", json={"texts": TEXTS})

    proof.check("status", 200, seen.status, seen)
    answer: Any = seen.json()
    vectors, dimension = answer["vectors"], answer["dimension"]
    proof.check("a vector for each text", len(TEXTS), len(vectors), seen)
    proof.check(
        "each of the dimension that it says", {dimension}, {len(each) for each in vectors}, seen
    )
    lengths = [math.hypot(*each) for each in vectors]
    proof.check(
        "each of length 1",
        "within 0.00001",
        max(abs(length - 1) for length in lengths),
        seen,
        holds=lambda worst: worst < 1e-5,
    )
    listed: Any = proof.send("GET", "/v1/embed/models").json()
    proof.check("the default model", listed["models"][0]["name"], answer["model"], seen)
    first, *others = vectors
    near, far = (sum(a * b for a, b in zip(first, each, strict=True)) for each in others)
    proof.check(
        "what means the same is nearer",
        f"more than {far:.3f}",
        near,
        seen,
        holds=lambda found: found > far,
    )
