"""A server that is watched, clients that send to it, and what counts as a finding."""

import json
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from tests.fuzz.cases import INTO, Case, tables
from tests.services import ServerProcess, lakehouse_server

ANSWER_MAX_S = 30.0
MEMORY_MAX_BYTES = 512 * 1024**2
RSS_ROOM_BYTES = 384 * 1024**2
"""The process itself, and what the libraries beside the engine need for a few small files."""
RSS_MAX_BYTES = MEMORY_MAX_BYTES + RSS_ROOM_BYTES
CONNECTIONS = 4
REFUSALS = range(400, 500)
BUSY = (503, 507)
LAST_WORDS = ("/problems/engine-down", "/problems/engine-broken", "/problems/stopping")
OUT_OF_MEMORY = ("/problems/load-memory", "/problems/out-of-memory", "/problems/memory-pressure")
SUSPECTS = 3 * CONNECTIONS
"""Inputs that are sent again when something is wrong, one by one."""
SHRINK_MAX_S = 20.0
TEXTS = ("csv", "tsv", "ndjson", "json")
ENDS_WITHIN_S = 10.0
LOG_SHOWN = 800
PROBLEM_FIELDS = {"type", "title", "status", "detail", "retryable", "context", "trace_id"}


@dataclass(frozen=True, slots=True)
class Finding:
    case: Case
    what: str


@dataclass(slots=True)
class Tally:
    """What became of the inputs of a format."""

    inputs: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    findings: int = 0
    slowest_s: float = 0.0
    slowest: str = ""

    def note(self, case: Case, status: int, took_s: float) -> None:
        self.answers[status] += 1
        if took_s > self.slowest_s:
            self.slowest_s, self.slowest = took_s, case.name

    def count(self, statuses: Iterable[int]) -> int:
        return sum(self.answers[each] for each in statuses)


class IllError(Exception):
    """The process is gone, about to go, or out of memory: whatever is sent now says nothing."""


class Target:
    """A real server, started anew when something is wrong with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts = 0
        self.is_ill = False
        self.rss_max_bytes = 0
        """The most that was seen."""
        self._stack = ExitStack()
        self.server: ServerProcess

    def __enter__(self) -> "Target":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start it on an empty directory; what ran before is ended without a word."""
        if self.starts:
            self.server.process.kill()
        self._stack.close()
        self.starts += 1
        self.is_ill = False
        settings: Any = {
            "LAKEHOUSE_MEMORY__MAX_BYTES": str(MEMORY_MAX_BYTES),
            "LAKEHOUSE_MAINTENANCE__ENABLED": "false",
        }
        folder = self.folder / f"data-{self.starts}"
        self.server = self._stack.enter_context(lakehouse_server(folder, **settings))

    def how_it_ended(self) -> str | None:
        """Return how the process ended; None while it lives."""
        with suppress(subprocess.TimeoutExpired):
            code = self.server.process.wait(timeout=ENDS_WITHIN_S)
            return f"the process ended ({code}): {self.server.log()[-LOG_SHOWN:]}"
        return None

    def rss_bytes(self) -> int:
        """Return what the process holds now; 0 when there is none."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.server.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    rss = int(line.split()[1]) * 1024
                    self.rss_max_bytes = max(self.rss_max_bytes, rss)
                    return rss
        return 0

    def logged(self, trace_id: str) -> str:
        """Return the end of what the log says of a request."""
        lines = [line for line in self.server.log().splitlines() if trace_id in line]
        errors = [json.loads(line).get("exception", "") for line in lines]
        return "".join(errors)[-LOG_SHOWN:]

    def spooled(self) -> list[str]:
        return [path.name for path in (self.server.data_dir / "spool").glob("upload-*")]


class Client:
    """One connection, and tables of its own."""

    def __init__(self, target: Target, number: int) -> None:
        self.target, self.number = target, number
        self.http = httpx.Client(base_url=target.server.url, timeout=ANSWER_MAX_S)
        self.ready: set[str] = set()

    def close(self) -> None:
        self.http.close()

    def try_out(self, case: Case) -> tuple[int, str | None]:
        """Send an input, and read its table.

        Returns:
            The status, and what is wrong with the answer.

        Raises:
            IllError: the process is not what it was.
        """
        try:
            return self._try_out(case)
        except httpx.TimeoutException:
            return 0, f"no answer within {ANSWER_MAX_S:g} s"
        except httpx.TransportError as error:
            raise IllError(self.target.how_it_ended() or f"it broke off: {error!r}") from error

    def check_well(self) -> None:
        """Load a good file; raises `IllError` when that cannot be done."""
        status, wrong = self.try_out(Case("well", "csv", "well.csv", b"a,b\n1,2\n", {}))
        if status != 200 or wrong:
            raise IllError(f"after it a good file is refused: {status}, {wrong}")

    def _try_out(self, case: Case) -> tuple[int, str | None]:
        params = dict(case.params)
        table = f"f{self.number}"
        into = params.pop(INTO, None)
        if into is not None:
            table = f"{into}_{self.number}"
            laid = self._lay(into, table)
            if laid.status_code != 200:
                self._check_alive(laid)
                return laid.status_code, f"no table could be made for it: {laid.text[:300]}"
        answer = self.http.post(
            "/v1/ingest",
            params={"name": table, **params},
            files={"file": (case.filename, case.body)},
        )
        if answer.status_code != 200:
            self._check_alive(answer)
            wrong = fault_of(answer)
            if wrong is not None and answer.status_code >= 500:
                wrong += self.target.logged(answer.json()["trace_id"])
            return answer.status_code, wrong
        wrong = None
        if "dry_run" not in params:
            wrong = self._unreadable(table, int(answer.json()["row_count"]))
            self.http.delete(f"/v1/tables/{table}", params={"purge": "true"})
            self.ready.discard(table)
        return 200, wrong

    def _check_alive(self, answer: httpx.Response) -> None:
        """Raise when the answer is of a process that is about to end, or has no memory."""
        if answer.status_code != 503:
            return
        kind = answer.json()["type"]
        if kind in LAST_WORDS:
            raise IllError(self.target.how_it_ended() or "it said that it would stop")
        if kind in OUT_OF_MEMORY:
            raise IllError(f"a small file takes all memory: {answer.json()['detail']}")

    def _lay(self, into: str, table: str) -> httpx.Response:
        """Make a table for a file to go into, unless it is there."""
        if table in self.ready:
            return self.http.get(f"/v1/tables/{table}")
        filename, body = tables()[into]
        answer = self.http.post(
            "/v1/ingest", params={"name": table}, files={"file": (filename, body)}
        )
        self.ready.add(table)
        return answer

    def _unreadable(self, table: str, rows: int) -> str | None:
        """Return what keeps a table from being read that was loaded."""
        answer = self.http.post("/v1/sql?format=ndjson", json={"sql": f"SELECT * FROM {table}"})
        if answer.status_code != 200:
            self._check_alive(answer)
            why = self.target.logged(answer.json()["trace_id"]) or answer.text[:300]
            return f"it was loaded, and cannot be read: {why}"
        found = answer.text.count("\n")
        return None if found == rows else f"{rows} rows were loaded, {found} are read"


def fault_of(answer: httpx.Response) -> str | None:
    """Return what is wrong with an answer that says no (RFC 9457, `docs/rest.md`)."""
    status = answer.status_code
    if status not in REFUSALS and status not in BUSY:
        return f"{status}: {answer.text[:300]}"
    try:
        problem = answer.json()
    except ValueError:
        return f"{status} is no problem document: {answer.text[:300]}"
    if answer.headers["content-type"] != "application/problem+json":
        return f"{status} has the type {answer.headers['content-type']}"
    if not isinstance(problem, dict) or problem.keys() != PROBLEM_FIELDS:
        return f"{status} has other fields: {json.dumps(problem)[:300]}"
    if problem["status"] != status or not problem["detail"]:
        return f"{status} says {json.dumps(problem)[:300]}"
    return None


def least(body: bytes, breaks: Callable[[bytes], bool]) -> bytes:
    """Return what is left when everything is taken out that `breaks` can do without."""
    size = len(body) // 2
    while size:
        start = 0
        while start < len(body):
            shorter = body[:start] + body[start + size :]
            if breaks(shorter):
                body = shorter
            else:
                start += size
        size //= 2
    return body


class Fuzz:
    """Inputs on their way to a server."""

    def __init__(self, target: Target, on_done: Callable[[Case], None] = lambda case: None) -> None:
        self.target = target
        self.findings: list[Finding] = []
        self.tallies: dict[str, Tally] = {}
        self.ills: Counter[str] = Counter()
        """Why the server was started anew, whether it was one input's fault or that of several."""
        self._on_done = on_done
        self._suspects: deque[Case] = deque(maxlen=SUSPECTS)
        self._clients: dict[int, Client] = {}
        self._lock = threading.Lock()

    def run(self, cases: Iterable[Case]) -> None:
        """Send all, several at once; when something breaks, say which of the last ones it was."""
        queue = iter(cases)
        while True:
            with ThreadPoolExecutor(CONNECTIONS) as threads:
                ended = list(threads.map(lambda n: self._work(n, queue), range(CONNECTIONS)))
            if all(ended):
                break
            suspects = list(self._suspects)
            self._restart()
            for case in suspects:
                self._alone(case)
            self._suspects.clear()
        self._close_clients()
        if left := self.target.spooled():
            case = self._suspects[-1]
            self._find(case, f"{len(left)} files are left in the spool, of this one or one before")

    def _work(self, number: int, queue: Iterator[Case]) -> bool:
        """Be one client until there is nothing left, or the server is ill; return which."""
        while not self.target.is_ill:
            with self._lock:
                case = next(queue, None)
                if case is None:
                    return True
                self._suspects.append(case)
                self._tally(case).inputs += 1
            try:
                self._send(number, case)
            except IllError as error:
                self.target.is_ill = True
                with self._lock:
                    self.ills[str(error).partition(":")[0]] += 1
            self._on_done(case)
        return False

    def _send(self, number: int, case: Case) -> None:
        began = time.monotonic()
        status, wrong = self._client(number).try_out(case)
        took_s = time.monotonic() - began
        with self._lock:
            self._tally(case).note(case, status, took_s)
        if wrong is not None:
            self._find(case, wrong)
        if self.target.rss_bytes() > RSS_MAX_BYTES:
            raise IllError(f"the process grew to {self.target.rss_bytes() // 1024**2} MiB")

    def _client(self, number: int) -> Client:
        if number not in self._clients:
            self._clients[number] = Client(self.target, number)
        return self._clients[number]

    def _alone(self, case: Case) -> None:
        """Send what was on its way when something broke, and see whether it was this one."""
        try:
            self._send(0, case)
            self._client(0).check_well()
        except IllError as error:
            self._find(case, str(error))
            self._restart()

    def shrunk(self, case: Case) -> Case:
        """Return the least text that still is a finding; of other formats the whole file."""
        if case.format not in TEXTS:
            return case
        self._restart()
        until = time.monotonic() + SHRINK_MAX_S

        def breaks(body: bytes) -> bool:
            if time.monotonic() > until:
                return False
            try:
                return self._client(0).try_out(replace(case, body=body))[1] is not None
            except IllError:
                self._restart()
                return True

        return replace(case, body=least(case.body, breaks))

    def _restart(self) -> None:
        self._close_clients()
        self.target.start()

    def _close_clients(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _find(self, case: Case, what: str) -> None:
        with self._lock:
            if all(each.case.name != case.name for each in self.findings):
                self.findings.append(Finding(case, what))
                self._tally(case).findings += 1

    def _tally(self, case: Case) -> Tally:
        return self.tallies.setdefault(case.format, Tally())
