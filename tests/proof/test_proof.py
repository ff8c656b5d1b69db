"""The claims as tests; `just proof` runs the same, with a report, and the commands as well."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof.claims import ROOT, Claim, load_claims
from tests.proof.evidence import CASES, Ledger
from tests.proof.report import write_report
from tests.proof.run import result_of, show
from tests.services import ServerProcess

CLAIMS = load_claims()
SHOWN_HERE = [each for each in CLAIMS if each.command is None and each.type != "performance"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "report") as ledger:
        yield ledger


@pytest.mark.parametrize("claim", SHOWN_HERE, ids=lambda claim: claim.id)
def test_a_claim_holds(claim: Claim, ledger: Ledger, served: ServerProcess) -> None:
    show(claim, ledger, served.url)

    write_report(ledger, [claim])
    assert result_of(claim, ledger) == "pass", (ledger.folder / "summary.md").read_text()


def test_every_claim_has_its_case_or_its_tests() -> None:
    for claim in CLAIMS:
        if claim.command is None:
            assert claim.id in CASES, f"{claim.id} has no case"
            assert CASES[claim.id].__module__ == claim.evidence[:-3].replace("/", ".")
        else:
            for argument in claim.command:
                path, _, test = argument.partition("::")
                assert (ROOT / path).exists(), f"{claim.id}: {path} is not there"
                assert not test or f"def {test}(" in (ROOT / path).read_text(), (
                    f"{claim.id}: {test}"
                )
    assert set(CASES) <= {claim.id for claim in CLAIMS}
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)


def test_a_claim_that_was_not_shown_is_not_a_passed_one(ledger: Ledger) -> None:
    claim = Claim(id="X-1", sentence="It flies.", type="contract", evidence="pytest --version")

    assert result_of(claim, ledger) == "skip"
    show(claim, ledger, url=None)
    assert result_of(claim, ledger) == "fail"


def test_a_case_that_raises_is_a_failed_claim_with_the_reason(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim(id="X-2", sentence="It floats.", type="contract", evidence="a case")

    def raises(proof: object) -> None:
        raise ValueError("it sank")

    monkeypatch.setitem(CASES, "X-2", raises)

    assert show(claim, ledger, url=None) == "fail"
    summary = write_report(ledger, [claim])
    assert (summary.passed, summary.failed, summary.skipped) == (0, 1, 0)
    assert "ValueError: it sank" in (ledger.folder / "summary.md").read_text()
    assert "it sank" in (ledger.folder / "assertions.jsonl").read_text()
