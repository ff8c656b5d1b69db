"""How fast a run was, beside the run before. It reports; it does not fail."""

import re
import statistics
from collections.abc import Callable

import msgspec

from tests.proof.cases.query import sql
from tests.proof.evidence import Proof, case

ROWS = 50_000
INGEST_WARM_UPS, INGEST_RUNS = 3, 3
QUERY_WARM_UPS, QUERY_RUNS = 50, 20
WORSE_MADS, WORSE_SHARE = 3.0, 0.75


class Metric(msgspec.Struct, frozen=True):
    median: float
    mad: float
    """Median of the absolute deviations from the median."""


class Baseline(msgspec.Struct, frozen=True):
    commit: str
    metrics: dict[str, Metric]


@case("GOLAKE-100")
def a_run_is_compared_with_the_one_before(proof: Proof) -> None:
    table = proof.name("rows")
    metrics = {"ingest_rows_per_sec": metric(ingest_rates(proof, table))}
    latencies_ms = query_latencies_ms(proof, table)
    metrics["query_p50_ms"] = metric(latencies_ms)
    metrics["query_p95_ms"] = Metric(quantile(latencies_ms, 0.95), metric(latencies_ms).mad)
    if rss_mb := resident_mb(proof):
        metrics["rss_lakehouse_mb"] = Metric(rss_mb, 0.0)

    path = proof.folder.parent / "baseline.json"
    before = msgspec.json.decode(path.read_bytes(), type=Baseline) if path.exists() else None
    for name, now in metrics.items():
        was = before.metrics.get(name) if before else None
        expected = f"not much worse than {was.median:.1f}" if was else "first record"
        proof.check(name, expected, round(now.median, 3), holds=within(name, was))
    path.write_bytes(
        msgspec.json.format(msgspec.json.encode(Baseline(proof.commit, metrics)), indent=2)
    )


def within(name: str, was: Metric | None) -> Callable[[float], bool]:
    """Return whether a median is within max(3 MAD, 75 %) of the one before, or better."""

    def holds(now: float) -> bool:
        if was is None:
            return True
        allowed = max(WORSE_MADS * was.mad, WORSE_SHARE * was.median)
        worse_by = was.median - now if name.endswith("_per_sec") else now - was.median
        return worse_by <= allowed

    return holds


def ingest_rates(proof: Proof, table: str) -> list[float]:
    rates = []
    for run in range(INGEST_WARM_UPS + INGEST_RUNS):
        rows = "".join(f"{row},city {row % 100},{row * 0.5 + run}\n" for row in range(ROWS))
        seen = proof.send(
            "POST",
            "/v1/ingest",
            params={"name": table},
            files={"file": ("rows.csv", "id,city,score\n" + rows, "text/csv")},
        )
        proof.check(f"load {run + 1}", 200, seen.status, seen)
        rates.append(ROWS / seen.latency_ms * 1000)
    return rates[INGEST_WARM_UPS:]


def query_latencies_ms(proof: Proof, table: str) -> list[float]:
    text = f"SELECT city, count(*), avg(score) FROM {table} GROUP BY city ORDER BY city LIMIT 5"
    seen = [sql(proof, text) for _ in range(QUERY_WARM_UPS + QUERY_RUNS)]
    proof.check("every query answers", {200}, {each.status for each in seen}, seen[-1])
    return [each.latency_ms for each in seen[QUERY_WARM_UPS:]]


def resident_mb(proof: Proof) -> float | None:
    body = proof.send("GET", "/metrics").response_body.decode()
    found = re.search(r"^process_resident_memory_bytes ([\d.e+]+)$", body, re.MULTILINE)
    return float(found[1]) / 1e6 if found else None


def metric(values: list[float]) -> Metric:
    median = statistics.median(values)
    return Metric(median, statistics.median(abs(value - median) for value in values))


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
