"""A body is small before it becomes objects, or it is refused."""

import tracemalloc

import httpx
import pytest

from lakehouse.iceberg.calls import Call
from lakehouse.iceberg.commits import TableCommit
from lakehouse.iceberg.problems import TooManyValuesError
from tests.iceberg.conftest import PLACE, load

MIB = 1024 * 1024


@pytest.mark.parametrize("value", [b"{}", b"[]", b"[[]]", b"0", b'"a"'])
def test_a_body_of_many_small_values_takes_no_memory(value: bytes) -> None:
    many = b",".join([value] * (7 * MIB // (len(value) + 1)))
    call = Call({}, {}, {}, b'{"requirements":[],"updates":[%b]}' % many)
    tracemalloc.start()
    with pytest.raises(TooManyValuesError, match="1,000,000"):
        call.body(TableCommit)
    assert tracemalloc.get_traced_memory()[1] < MIB
    tracemalloc.stop()


def test_a_client_is_told_that_it_was_too_much(client: httpx.Client) -> None:
    load(client, "bodies")
    place = f"{PLACE}/namespaces/main/tables/bodies"
    content = b'{"requirements":[],"updates":[%b{}]}' % (b"{}," * 2_000_000)
    answer = client.post(place, content=content)
    assert (answer.status_code, "values" in answer.text) == (413, True), answer.text
    many = {"requirements": [{"type": "assert-create"}] * 5_001, "updates": []}
    answer = client.post(place, json=many)
    assert (answer.status_code, "5000" in answer.text) == (400, True), answer.text
