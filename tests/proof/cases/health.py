"""The server is up and says who it is."""

from tests.proof.evidence import Proof, case, field

HEALTH_MAX_MS = 500
MODULES = ("catalog", "database", "ingest", "query", "state", "storage")


@case("GOLAKE-001")
def health_is_quick_and_names_the_service(proof: Proof) -> None:
    seen = proof.send("GET", "/health")

    proof.check("status", 200, seen.status, seen)
    proof.check("service", "lakehouse", field(seen.json(), "service"), seen)
    proof.check(
        "answers in time",
        f"under {HEALTH_MAX_MS} ms",
        seen.latency_ms,
        seen,
        holds=lambda latency_ms: latency_ms < HEALTH_MAX_MS,
    )


@case("GOLAKE-002")
def ready_answers_for_every_module(proof: Proof) -> None:
    seen = proof.send("GET", "/ready")

    proof.check("status", 200, seen.status, seen)
    parts = field(seen.json(), "parts")
    named = sorted(parts) if isinstance(parts, dict) else parts
    proof.check(
        "speaks for every module",
        f"{', '.join(MODULES)}, each with its state",
        named,
        seen,
        holds=lambda named: set(MODULES) <= set(named or ()),
    )
