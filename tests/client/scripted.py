"""A peer that answers what it was told to, where the real server would have to be broken."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    """Close the connection after the body, which promised to be longer."""
    silent: bool = False
    """Close it without a word."""


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """Gives its replies in order, the last one again and again; keeps what it was asked."""

    def __init__(self, replies: list[Reply]) -> None:
        self._replies = replies
        self.seen: list[Seen] = []
        self.url = ""

    def reply(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        return self._replies[min(len(self.seen), len(self._replies)) - 1]


def problem(status: int, type_: str, detail: str, **headers: str) -> Reply:
    body = {"type": f"/problems/{type_}", "title": type_, "detail": detail, "status": status}
    body["context"] = {"table": "t"}
    return Reply(
        status, json.dumps(body).encode(), {k.replace("_", "-"): v for k, v in headers.items()}
    )


@contextmanager
def peer(*replies: Reply) -> Iterator[Peer]:
    """Run a peer on a free port of the loopback."""
    scripted = Peer(list(replies))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = scripted.reply(Seen(self.command, self.path, headers, body))
            if reply.silent:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.broken))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = reply.broken

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    socketserver.TCPServer.allow_reuse_address = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    scripted.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield scripted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
