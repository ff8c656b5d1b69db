"""What was found once stays mended, a few inputs of each format are answered; `just fuzz` is long.

The findings that are found: an answer that is none of the documented ones, in the documented shape.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fuzz.cases import FORMATS, Case, corpus, of_number
from tests.fuzz.harness import Fuzz, Target, fault_of, least

PROBLEM = {
    "type": "/problems/invalid-file",
    "title": "Invalid file",
    "status": 400,
    "detail": "the file is empty",
    "retryable": False,
    "context": {},
    "trace_id": "1",
}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("fuzz")) as target:
        yield target


def test_what_was_found_once_is_answered_as_documented(target: Target) -> None:
    assert_no_findings(target, list(corpus()))


def test_a_few_inputs_of_each_format_are_answered_as_documented(target: Target) -> None:
    assert_no_findings(target, [of_number(name, 7, n) for name in FORMATS for n in range(8)])


def assert_no_findings(target: Target, cases: list[Case]) -> None:
    fuzz = Fuzz(target)
    fuzz.run(cases)

    assert [(each.case.name, each.what) for each in fuzz.findings] == []
    assert sum(tally.inputs for tally in fuzz.tallies.values()) == len(cases)


def test_an_input_is_made_again_by_its_number_and_its_seed() -> None:
    for name in FORMATS:
        assert of_number(name, 1, 5) == of_number(name, 1, 5)
        assert len({of_number(name, seed, 5).body for seed in range(9)}) > 5


def test_a_finding_is_a_file_that_is_read_as_it_was_sent(tmp_path: Path) -> None:
    case = of_number("gzip", 1, 2)
    sent = Case(
        case.name, case.format, case.filename, case.body, {"types": "a:decimal(9,2),b.c:int"}
    )

    sent.save(tmp_path)

    (read,) = corpus(tmp_path)
    ending = sent.filename.partition(".")[2]
    assert read == Case(sent.name, sent.format, f"file.{ending}", sent.body, sent.params)


def test_what_a_finding_can_do_without_is_taken_out() -> None:
    body = b"id,city\n" * 40 + b"1,\xff\n" + b"2,x\n" * 40
    assert least(body, lambda each: b"\xff" in each and each.startswith(b"id")) == b"id\xff"


@pytest.mark.parametrize(
    ("status", "body", "is_fine"),
    [
        (400, PROBLEM, True),
        (503, {**PROBLEM, "status": 503}, True),
        (500, {**PROBLEM, "status": 500}, False),
        (400, {**PROBLEM, "status": 422}, False),
        (400, {"detail": "no"}, False),
        (400, [], False),
    ],
)
def test_an_answer_that_is_not_documented_is_a_finding(
    status: int, body: object, is_fine: bool
) -> None:
    kind = {"content-type": "application/problem+json"}
    answer = httpx.Response(status, json=body, headers=kind)
    assert (fault_of(answer) is None) == is_fine


def test_a_problem_of_another_type_is_a_finding() -> None:
    assert fault_of(httpx.Response(400, json=PROBLEM)) is not None
    assert fault_of(httpx.Response(400, text="<html>")) is not None
