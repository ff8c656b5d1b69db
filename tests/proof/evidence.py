"""Evidence: every assertion and every exchange is a line of JSON, written as it happens."""

import hashlib
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeAlias

import httpx
import msgspec

from tests.proof.claims import ROOT, Claim

Result: TypeAlias = Literal["pass", "fail", "skip"]

TRACE_HEADER = "X-Lakehouse-Trace-Id"
TIMEOUT_S = 60.0
RAW_BODY_MAX_BYTES = 64 * 1024


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    claim: str
    what: str
    result: Result
    expected: Any
    actual: Any
    reason: str | None = None
    """Why it was skipped, or what was raised."""
    route: str | None = None
    status: int | None = None
    latency_ms: float | None = None
    input_sha256: str | None = None
    output_sha256: str | None = None
    trace_id: str | None = None
    commit: str
    time: str


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer."""

    claim: str
    route: str
    status: int
    latency_ms: float
    request_headers: dict[str, str]
    request_body: bytes
    response_headers: dict[str, str]
    response_body: bytes

    @property
    def trace_id(self) -> str | None:
        return self.response_headers.get(TRACE_HEADER.lower())

    def json(self) -> Any:
        """Return the body decoded, or None where it is not JSON."""
        try:
            return msgspec.json.decode(self.response_body)
        except msgspec.DecodeError:
            return None

    @property
    def problem_detail(self) -> str:
        """The `detail` of an `application/problem+json` body, else nothing."""
        kind = self.response_headers.get("content-type", "")
        body = self.json()
        if not kind.startswith("application/problem+json") or not isinstance(body, dict):
            return ""
        return str(body.get("detail", ""))


class SkippedError(Exception):
    """A claim cannot be shown here; the reason is the message."""


class Ledger:
    """The folder of one run: `assertions.jsonl` and `exchanges.jsonl`, flushed line by line."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.run = uuid.uuid4().hex[:8]
        self.commit = commit()
        self.assertions: list[Assertion] = []
        self.latencies_ms: dict[str, list[float]] = {}
        self._files = {
            name: (folder / f"{name}.jsonl").open("wb", buffering=0)
            for name in ("assertions", "exchanges")
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(self, assertion: Assertion) -> None:
        self.assertions.append(assertion)
        self._files["assertions"].write(msgspec.json.encode(assertion) + b"\n")

    def keep(self, exchange: Exchange) -> None:
        self.latencies_ms.setdefault(exchange.route, []).append(exchange.latency_ms)
        short = msgspec.structs.replace(
            exchange,
            request_body=exchange.request_body[:RAW_BODY_MAX_BYTES],
            response_body=exchange.response_body[:RAW_BODY_MAX_BYTES],
        )
        self._files["exchanges"].write(msgspec.json.encode(short) + b"\n")


class Proof:
    """What a case is given: it sends requests, and says what must be true of the answers."""

    def __init__(self, claim: Claim, ledger: Ledger, client: httpx.Client) -> None:
        self.claim = claim
        self._ledger = ledger
        self._client = client
        self._count = 0

    def name(self, base: str) -> str:
        """Return a name that no other run and no other claim uses."""
        claim = self.claim.id.lower().replace("-", "_")
        return f"proof_{claim}_{base}_{self._ledger.run}"

    @property
    def folder(self) -> Path:
        """Where this run's report lies."""
        return self._ledger.folder

    @property
    def commit(self) -> str:
        return self._ledger.commit

    def send(self, method: str, path: str, *, route: str | None = None, **kwargs: Any) -> Exchange:
        """Send one request; `route` is its path as the claim spells it."""
        self._count += 1
        trace = f"proof-{self._ledger.run}-{self.claim.id}-{self._count}"
        request = self._client.build_request(method, path, **kwargs)
        request.headers[TRACE_HEADER] = trace
        sent = request.read()
        began = time.perf_counter()
        response = self._client.send(request)
        exchange = Exchange(
            claim=self.claim.id,
            route=f"{method} {route or path}",
            status=response.status_code,
            latency_ms=(time.perf_counter() - began) * 1000,
            request_headers=dict(request.headers),
            request_body=sent,
            response_headers=dict(response.headers),
            response_body=response.content,
        )
        self._ledger.keep(exchange)
        return exchange

    def check(
        self,
        what: str,
        expected: object,
        actual: object,
        seen: Exchange | None = None,
        *,
        holds: Callable[[Any], bool] | None = None,
    ) -> bool:
        """Record whether `actual` is `expected`, or whether it `holds`; never raises.

        With `holds`, `expected` says in words what it tests.
        """
        true = holds(actual) if holds else actual == expected
        self._record(what, "pass" if true else "fail", expected, actual, seen=seen)
        return true

    def skip(self, reason: str) -> NoReturn:
        raise SkippedError(reason)

    def skipped(self, reason: str) -> None:
        self._record("can be shown here", "skip", "yes", "no", reason=reason)

    def raised(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        self._record("the case runs to its end", "fail", "no error", "an error", reason=reason)

    def _record(
        self,
        what: str,
        result: Result,
        expected: object,
        actual: object,
        *,
        reason: str | None = None,
        seen: Exchange | None = None,
    ) -> None:
        self._ledger.add(
            Assertion(
                claim=self.claim.id,
                what=what,
                result=result,
                expected=expected,
                actual=actual,
                reason=reason,
                route=seen.route if seen else None,
                status=seen.status if seen else None,
                latency_ms=round(seen.latency_ms, 3) if seen else None,
                input_sha256=sha256(seen.request_body) if seen else None,
                output_sha256=sha256(seen.response_body) if seen else None,
                trace_id=seen.trace_id if seen else None,
                commit=self._ledger.commit,
                time=datetime.now(UTC).isoformat(),
            )
        )


Case: TypeAlias = Callable[[Proof], None]
CASES: dict[str, Case] = {}


def case(claim_id: str) -> Callable[[Case], Case]:
    """Mark the function that shows a claim."""

    def add(function: Case) -> Case:
        assert claim_id not in CASES, f"{claim_id} has two cases"
        CASES[claim_id] = function
        return function

    return add


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def commit() -> str:
    """Return the commit this checkout is at, `-dirty` when files differ; `unknown` without git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return answer.stdout.strip() or "unknown"


def field(body: object, name: str) -> object:
    """Return a member of a JSON object, None when the body is something else."""
    return body.get(name) if isinstance(body, Mapping) else None
