"""`/v1/tokens` for who may ask there: what is wrong with a request is said by name."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app
from tests.services import client_of


@pytest.fixture
async def operator(lake: Lakehouse) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(lake).from_operator) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "name"),
        ({"name": "x"}, "grants"),
        ({"name": "x", "grants": []}, "grants"),
        ({"name": "x", "grants": [{"role": "king"}]}, "role"),
        ({"name": "x", "grants": [{"role": "reader", "of": "y"}]}, "of"),
        ({"name": "x", "grants": [{"role": "reader", "on": "a/b"}]}, "nothing a grant can be on"),
        ({"name": "x", "grants": [{"role": "reader", "on": "a\n"}]}, "control character"),
        ({"name": "x", "grants": [{"role": "reader", "on": "a" * 300}]}, "300 bytes"),
        ({"name": "x", "grants": [{"role": "reader", "on": "e\u0301.t"}]}, "NFC"),
        ({"name": "x", "grants": [{"role": "reader", "on": "s.t\0"}]}, "control character"),
        ({"name": "x", "grants": [{"role": "reader", "on": "lakehouse"}]}, "reserved"),
        ({"name": "x", "grants": [{"role": "reader", "on": "objects:/a"}]}, "slash"),
        ({"name": "x", "grants": [{"role": "reader", "on": "objects:a/../b"}]}, "'..'"),
        ({"name": "a b", "grants": [{"role": "reader"}]}, "no name of a token"),
        ({"name": "x", "grants": [{"role": "reader"}], "tenant": "t t"}, "no name of a tenant"),
        ({"name": "x", "grants": [{"role": "reader"}], "addresses": ["here"]}, "no network"),
        ({"name": "x", "grants": [{"role": "reader"}], "expires_at": "soon"}, "expires_at"),
        ({"name": "x", "grants": [{"role": "reader"}], "expires_at": "2001-01-01"}, "expires_at"),
        (
            {"name": "x", "grants": [{"role": "reader"}], "limits": {"concurrency": 0}},
            "concurrency",
        ),
        ({"name": "x", "grants": [{"role": "reader"}], "limits": {"an_hour": 1}}, "an_hour"),
        ({"name": "x", "grants": [{"role": "reader"}], "colour": "red"}, "colour"),
        ([], "object"),
    ],
)
async def test_what_is_wrong_with_a_token_is_said(
    operator: httpx.AsyncClient, body: Any, words: str
) -> None:
    answer = await operator.post("/v1/tokens", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert (await operator.get("/v1/tokens")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "words"), [({"overlap_s": -1}, "overlap_s"), ({"overlap": 1}, "overlap")]
)
async def test_what_is_wrong_with_a_rotation_is_said(
    operator: httpx.AsyncClient, body: Any, words: str
) -> None:
    answer = await operator.post("/v1/tokens/nobody/rotate", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


async def test_a_token_that_is_not_there_is_404(operator: httpx.AsyncClient) -> None:
    assert (await operator.post("/v1/tokens/nobody/rotate", json={})).status_code == 404
    assert (await operator.delete("/v1/tokens/nobody")).status_code == 404
