"""Show claims against a running server, and collect what came of each."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests import services
from tests.proof import cases
from tests.proof.claims import ROOT, Claim
from tests.proof.evidence import CASES, TIMEOUT_S, Ledger, Proof, Result, SkippedError

assert cases.__all__, "importing the cases registers them"

COMMAND_TIMEOUT_S = 600


@contextmanager
def lakehouse_server() -> Iterator[str]:
    """Start the real thing on an empty directory; yield its address."""
    with (
        tempfile.TemporaryDirectory(prefix="lakehouse-proof-") as folder,
        services.lakehouse_server(Path(folder) / "data") as server,
    ):
        yield server.url


def show(claim: Claim, ledger: Ledger, url: str | None) -> Result:
    """Show one claim and return what came of it; a skipped one is never a passed one."""
    with httpx.Client(base_url=url or "http://unused", timeout=TIMEOUT_S) as client:
        proof = Proof(claim, ledger, client)
        try:
            if claim.command is not None:
                run_pytest(proof, claim.command)
            else:
                CASES[claim.id](proof)
        except SkippedError as reason:
            proof.skipped(str(reason))
        except Exception as error:  # whatever a case raises, the run goes on and says so
            proof.raised(error)
    return result_of(claim, ledger)


def skip(claim: Claim, ledger: Ledger, reason: str) -> Result:
    """Leave a claim out of the run, loudly."""
    with httpx.Client() as client:
        Proof(claim, ledger, client).skipped(reason)
    return result_of(claim, ledger)


def result_of(claim: Claim, ledger: Ledger) -> Result:
    results = {each.result for each in ledger.assertions if each.claim == claim.id}
    if "fail" in results:
        return "fail"
    return "skip" if "skip" in results or not results else "pass"


def run_pytest(proof: Proof, arguments: Sequence[str]) -> None:
    """Run tests as evidence; what they print lies beside the report."""
    output = proof.folder / f"{proof.claim.id}.txt"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with output.open("w") as file:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env={**os.environ, "PY_COLORS": "0", "LAKEHOUSE_TEST_LONG": "1"},
        )
    lines = output.read_text().strip().splitlines() or ["no output"]
    proof.check(f"pytest {' '.join(arguments)}", 0, done.returncode)
    proof.check(
        "tests ran and passed",
        "a number of passed tests",
        lines[-1],
        holds=lambda last: " passed" in last,
    )
    if skipped := [line for line in lines if line.startswith("SKIPPED")]:
        proof.skip("; ".join(skipped))
