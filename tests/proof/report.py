"""The report of a run: `summary.json` for programs, `summary.md` for people."""

import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from tests.proof.claims import Claim
from tests.proof.evidence import Assertion, Ledger, Result
from tests.proof.run import result_of

SLOWEST_SHOWN = 8


class Shown(msgspec.Struct, frozen=True):
    id: str
    sentence: str
    type: str
    required: bool
    result: Result
    passed: int
    failed: int
    skipped: int
    evidence: str


class Summary(msgspec.Struct, frozen=True):
    commit: str
    time: str
    machine: str
    python: str
    passed: int
    failed: int
    skipped: int
    claims: list[Shown]
    latencies_ms: dict[str, dict[str, float]]
    """Per route: count, median, max."""


def write_report(ledger: Ledger, claims: Sequence[Claim]) -> Summary:
    summary = summarise(ledger, claims)
    encoded = msgspec.json.format(msgspec.json.encode(summary), indent=2)
    (ledger.folder / "summary.json").write_bytes(encoded)
    (ledger.folder / "summary.md").write_text(as_markdown(summary, ledger.assertions))
    return summary


def summarise(ledger: Ledger, claims: Sequence[Claim]) -> Summary:
    shown = [shown_claim(claim, ledger) for claim in claims]
    results = [each.result for each in shown]
    return Summary(
        commit=ledger.commit,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=platform.platform(),
        python=platform.python_version(),
        passed=results.count("pass"),
        failed=results.count("fail"),
        skipped=results.count("skip"),
        claims=shown,
        latencies_ms={
            route: {
                "count": len(values),
                "median": round(statistics.median(values), 2),
                "max": round(max(values), 2),
            }
            for route, values in sorted(ledger.latencies_ms.items())
        },
    )


def shown_claim(claim: Claim, ledger: Ledger) -> Shown:
    results = [each.result for each in ledger.assertions if each.claim == claim.id]
    return Shown(
        id=claim.id,
        sentence=claim.sentence,
        type=claim.type,
        required=claim.required,
        result=result_of(claim, ledger),
        passed=results.count("pass"),
        failed=results.count("fail"),
        skipped=results.count("skip"),
        evidence=claim.evidence,
    )


def as_markdown(summary: Summary, assertions: Sequence[Assertion]) -> str:
    failed = [each for each in summary.claims if each.result == "fail"]
    partly = [each for each in failed if each.passed]
    failures = [each for each in assertions if each.result == "fail"]
    skips = [each for each in assertions if each.result == "skip"]
    drift = [each for each in failures if each.route]
    risks = [each for each in summary.claims if each.id.startswith("R-")]
    sections = {
        "Proven": [line(each) for each in summary.claims if each.result == "pass"],
        "Partly": [line(each) for each in partly],
        "Failed": [line(each) for each in failed if not each.passed],
        "Skipped, and why": [f"{each.claim}: {each.reason}" for each in skips],
        "What failed, word for word": [why(each) for each in failures],
        "Contract drift": [f"{each.claim} {each.route}: {each.what}" for each in drift],
        "Slowest routes": slowest(summary),
        "Risks that remain": [line(each) for each in risks if each.result != "pass"],
        "Fix first": [line(each) for each in failed if each.required][:3],
        "Evidence": [
            "`assertions.jsonl`: every assertion, one a line",
            "`exchanges.jsonl`: every request and answer, one a line",
            *(f"{each.id}: `{each.evidence}`" for each in summary.claims),
        ],
    }
    text = [
        "# Proof",
        "",
        f"{summary.passed} proven, {summary.failed} failed, {summary.skipped} skipped; "
        f"commit `{summary.commit}`, {summary.time}, Python {summary.python}, {summary.machine}.",
    ]
    for title, lines in sections.items():
        text += ["", f"## {title}", "", *(f"- {each}" for each in lines or ["nothing"])]
    return "\n".join(text) + "\n"


def line(shown: Shown) -> str:
    optional = "" if shown.required else " (not required)"
    return f"**{shown.id}** {shown.sentence}{optional} {shown.passed} passed, {shown.failed} failed"


def why(assertion: Assertion) -> str:
    reason = f" ({assertion.reason})" if assertion.reason else ""
    return (
        f"{assertion.claim}, {assertion.what}: expected {assertion.expected!r}, "
        f"found {assertion.actual!r}{reason}"
    )


def slowest(summary: Summary) -> list[str]:
    routes = sorted(summary.latencies_ms.items(), key=lambda item: -item[1]["median"])
    return [
        f"{route}: median {figures['median']} ms, max {figures['max']} ms, {figures['count']:.0f} x"
        for route, figures in routes[:SLOWEST_SHOWN]
    ]
