"""`just proof [contract|integration|performance ...]`: show the claims, write the report.

`performance` shows the others first: a figure of a server that answers wrong is worth nothing.
The exit code is 0 only if every required claim of the run was shown.
"""

import argparse
import os
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.proof.claims import MODES, Claim, Mode, load_claims
from tests.proof.evidence import Ledger, Result
from tests.proof.report import Summary, write_report
from tests.proof.run import lakehouse_server, show, skip

REPORTS = Path(os.environ.get("LAKEHOUSE_PROOF_REPORTS", Path(__file__).with_name("reports")))
MARKS: dict[Result, str] = {"pass": "PASS", "fail": "FAIL", "skip": "SKIP"}


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    modes = MODES if "performance" in options.modes else options.modes
    if not modes and not options.claims:
        modes = ["contract", "integration"]
    chosen = [
        claim
        for mode in MODES
        for claim in load_claims()
        if claim.type == mode and (mode in modes or claim.id in options.claims)
    ]
    folder = options.out / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder))
        url = options.url or stack.enter_context(lakehouse_server())
        results = show_all(chosen, ledger, url)
        summary = write_report(ledger, chosen)
    print_end(ledger, summary)
    return int(any(c.required and results[c.id] != "pass" for c in chosen) or not chosen)


def mode(text: str) -> Mode:
    for each in MODES:
        if text == each:
            return each
    raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(MODES)}")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("modes", nargs="*", type=mode, metavar="|".join(MODES))
    parser.add_argument("--claim", dest="claims", action="append", default=[], metavar="ID")
    parser.add_argument("--url", help="a running server; without it one is started")
    parser.add_argument("--out", type=Path, default=REPORTS, help="folder of reports")
    return parser.parse_args(arguments)


def show_all(chosen: list[Claim], ledger: Ledger, url: str) -> dict[str, Result]:
    results: dict[str, Result] = {}
    for claim in chosen:
        if claim.type == "performance" and set(results.values()) - {"pass"}:
            results[claim.id] = skip(claim, ledger, "an earlier claim was not shown")
        else:
            results[claim.id] = show(claim, ledger, url)
        print(f"{MARKS[results[claim.id]]}  {claim.id:14} {claim.sentence}", flush=True)
    return results


def print_end(ledger: Ledger, summary: Summary) -> None:
    for each in ledger.assertions:
        if each.result == "fail":
            print(f"  {each.claim}: {each.what}: expected {each.expected!r}, {each.actual!r}")
        if each.result == "skip":
            print(f"  SKIPPED {each.claim}: {each.reason}")
        if each.result != "pass" and each.reason:
            print(f"    {each.reason}")
    print(f"\n{ledger.folder / 'summary.md'}")
    print(f"{summary.passed} passed, {summary.failed} failed, {summary.skipped} skipped")


if __name__ == "__main__":
    sys.exit(main())
