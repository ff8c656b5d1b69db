"""One HTTP exchange: limits on every wait, retries where they are safe, errors by kind."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import msgspec

from lakehouse import __version__
from lakehouse.client.answers import error_of
from lakehouse.errors import (
    BusyError,
    InvalidInputError,
    LakehouseError,
    OutcomeUnknownError,
    UnavailableError,
)
from lakehouse.local_socket import short_path

Params: TypeAlias = Mapping[str, str | int | None]
Body: TypeAlias = Callable[[], Iterable[bytes]]
"""Makes the bytes of a request, from the start each time it is called."""

CONNECT_TIMEOUT_S = 5.0
ATTEMPTS_MAX = 6
PAUSE_MAX_S = 10.0
"""Longest pause before one more attempt, whatever Retry-After says."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
UNIX = "unix:"
# What a peer that went away looks like, before or within its answer.
QUERY_ID = "X-Lakehouse-Query-Id"
BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)


class ServerNotRunningError(UnavailableError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"no server answers at {url}: is `lakehouse serve` running there? ({reason})", url=url
        )


class SilentServerError(UnavailableError):
    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(f"{url} did not answer within {timeout_s:g} s", url=url)


class BrokenConnectionError(UnavailableError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"the connection to {url} broke: {reason}", url=url)


class AnswerEndedEarlyError(UnavailableError):
    """What was read of an answer is not all of it: the server broke it off, or is gone."""

    def __init__(self, url: str, query_id: str | None, reason: str | None) -> None:
        said = reason or "the server does not say why; its log may"
        named = f" of the statement {query_id!r}" if query_id else ""
        super().__init__(f"the answer{named} ended early: {said}", url=url, query_id=query_id)


class LostAnswerError(OutcomeUnknownError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the connection to {url} broke before the answer came ({reason}); the change may or "
            "may not have happened: look before you send it again",
            url=url,
        )


@contextmanager
def socket_of(url: str) -> Iterator[str | None]:
    """Yield the path of a `unix:` address, in a form that sockets take; None for any other."""
    if not url.startswith(UNIX):
        yield None
        return
    with short_path(Path(url.removeprefix(UNIX))) as path:
        yield path


class Transport:
    """Sends requests to one server. Safe to share between threads, as httpx's client is.

    Args:
        url: where the server listens; `unix:` and a path for a socket of this machine.
        token: who asks; None where the server is open to all.
        timeout_s: seconds to wait for the next byte, in both directions.
        retry_max_s: seconds of pauses that one call may spend on retries.
    """

    def __init__(
        self, url: str, *, token: str | None, timeout_s: float, retry_max_s: float
    ) -> None:
        self._held = ExitStack()
        self.url, local = (url, self._held.enter_context(socket_of(url)))
        if local is None:
            self.url = checked(url)
        self._timeout_s = timeout_s
        self._retry_max_s = retry_max_s
        host = httpx.URL(self.url).host
        credentials = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=self.url if local is None else "http://localhost",
            transport=httpx.HTTPTransport(uds=local) if local is not None else None,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            headers={"User-Agent": f"lakehouse-client/{__version__}", **credentials},
            # HTTP_PROXY is for the world outside; a proxy cannot reach this machine's loopback.
            trust_env=host not in LOOPBACK,
        )

    def close(self) -> None:
        self._http.close()
        self._held.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: object = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool = True,
        timeout_s: float | None = None,
        accepted: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """Return the answer, read whole.

        Args:
            method: GET, POST, PUT or DELETE.
            path: starts with `/`, escaped.
            params: of the query; those that are None are left out.
            json: a body, or
            body: makes one.
            headers: more of them.
            again: whether the request may be sent twice: it only reads, or carries a key.
            timeout_s: seconds to wait for the answer, when not the usual.
            accepted: error statuses that are an answer here.

        Raises:
            RemoteError: the server answered with an error; it is of the server's kind too.
            UnavailableError: nobody listens there, or nobody answered in time.
            OutcomeUnknownError: the connection broke, and the request may not be sent twice.
        """
        arguments = self._arguments(method, path, params, json, headers, timeout_s)
        for pause in self._attempts(again):
            try:
                response = self._http.request(**arguments, content=content(json, body))
            except httpx.HTTPError as error:
                pause(failure(error, self.url, self._timeout_s, again), None)
                continue
            if response.is_success or response.status_code in accepted:
                return response
            pause(error_of(response), response.headers.get("Retry-After"))
        raise AssertionError("the last pause raises")

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Open an answer whose body is read in pieces. Only for requests that change nothing.

        Raises what `send` raises, also while the pieces are read.
        """
        arguments = self._arguments(method, path, params, json, headers, timeout_s)
        request = self._http.build_request(**arguments, content=content(json, None))
        response = self._opened(request)
        try:
            yield self._pieces(response)
        finally:
            response.close()

    def _opened(self, request: httpx.Request) -> httpx.Response:
        for pause in self._attempts(again=True):
            try:
                response = self._http.send(request, stream=True)
            except httpx.HTTPError as error:
                pause(failure(error, self.url, self._timeout_s, again=True), None)
                continue
            if response.is_success:
                return response
            with closing(response):
                response.read()
            pause(error_of(response), response.headers.get("Retry-After"))
        raise AssertionError("the last pause raises")

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes()
        except BROKEN as error:
            query_id = response.headers.get(QUERY_ID)
            reason = self._why(query_id) if query_id else None
            raise AnswerEndedEarlyError(self.url, query_id, reason) from error
        except httpx.HTTPError as error:
            raise failure(error, self.url, self._timeout_s, again=True) from error

    def _why(self, query_id: str) -> str | None:
        """Return how a statement ended, as the server remembers it; None when it cannot say."""
        try:
            answer = self._http.get(f"/v1/sql/{query_id}", timeout=CONNECT_TIMEOUT_S)
            reason = answer.json().get("reason") if answer.is_success else None
        except (httpx.HTTPError, ValueError):
            return None
        return str(reason) if reason else None

    def _attempts(self, again: bool) -> Iterator[Callable[[LakehouseError, str | None], None]]:
        """Yield a pause for each attempt: called with what went wrong, it waits or raises that."""
        until = time.monotonic() + self._retry_max_s

        for left in reversed(range(ATTEMPTS_MAX)):

            def pause(error: LakehouseError, retry_after: str | None, left: int = left) -> None:
                wait_s = pause_s(error, retry_after) if again and left else None
                if wait_s is None or time.monotonic() + wait_s > until:
                    raise error
                time.sleep(wait_s)

            yield pause

    def _arguments(
        self,
        method: str,
        path: str,
        params: Params | None,
        json: object,
        headers: Mapping[str, str] | None,
        timeout_s: float | None,
    ) -> dict[str, Any]:
        timeout = httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S)
        if timeout_s is not None:
            timeout = httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S, read=timeout_s)
        typed = {"Content-Type": "application/json"} if json is not None else {}
        return {
            "method": method,
            "url": path,
            # None, not {}: httpx takes an empty mapping for "drop the query of the path".
            "params": {k: v for k, v in (params or {}).items() if v is not None} or None,
            "headers": {**typed, **(headers or {})},
            "timeout": timeout,
        }


def content(json: object, body: Body | None) -> bytes | Iterable[bytes] | None:
    if json is not None:
        return msgspec.json.encode(json)
    return body() if body is not None else None


def pause_s(error: LakehouseError, retry_after: str | None) -> float | None:
    """Return how long to wait before one more attempt, or None when there is no sense in one."""
    if isinstance(error, BrokenConnectionError):
        return 0.2
    if retry_after is None or not isinstance(error, UnavailableError | BusyError):
        return None
    try:
        return min(float(retry_after), PAUSE_MAX_S)
    except ValueError:  # a date: no server of ours writes one
        return None


def failure(error: httpx.HTTPError, url: str, timeout_s: float, again: bool) -> LakehouseError:
    """Return what an error of the transport means."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ServerNotRunningError(url, reason)
    if isinstance(error, httpx.LocalProtocolError):
        return InvalidInputError(f"the request could not be sent: {reason}")
    if isinstance(error, httpx.TimeoutException):
        return SilentServerError(url, timeout_s) if again else LostAnswerError(url, reason)
    if isinstance(error, BROKEN):
        return BrokenConnectionError(url, reason) if again else LostAnswerError(url, reason)
    return UnavailableError(f"{url} could not be asked: {reason}", url=url)


def checked(url: str) -> str:
    """Return `url` without a slash at its end.

    Raises:
        InvalidInputError: it is no http or https URL.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInputError(f"{url!r} is not a URL: {error}", url=url) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidInputError(f"{url!r} is not a URL like http://127.0.0.1:3110", url=url)
    return url.rstrip("/")
