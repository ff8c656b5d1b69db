"""A server that speaks as much of Ollama's protocol as we do, and fails as it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class OllamaDouble:
    """Its vectors are `[length of the text, 1, 0, ...]`, so that each text is told from another."""

    url: str = ""
    models: dict[str, str] = field(default_factory=lambda: {"nomic-embed-text:latest": "abc"})
    """Digests by name."""
    dimension: int = 4
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers, in this order."""
    inputs: list[list[str]] = field(default_factory=list)
    """The texts of each call."""

    def embed(self, body: dict[str, object]) -> tuple[int, object]:
        name = str(body["model"])
        if name not in self.models and f"{name}:latest" not in self.models:
            return 404, {"error": f'model "{name}" not found, try pulling it first'}
        texts = body["input"]
        assert isinstance(texts, list)
        self.inputs.append(texts)
        rest = [0.0] * (self.dimension - 2)
        return 200, {"model": name, "embeddings": [[len(each), 1.0, *rest] for each in texts]}

    def tags(self) -> tuple[int, object]:
        found = [{"model": name, "name": name, "digest": it} for name, it in self.models.items()]
        return 200, {"models": found}


@contextmanager
def running() -> Iterator[OllamaDouble]:
    double = OllamaDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(double.tags)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(lambda: double.embed(body))

        def answer(self, make: Callable[[], tuple[int, object]]) -> None:
            failed = double.failures.pop(0) if double.failures else None
            status, told = make() if failed is None else (failed, {"error": "no"})
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        double.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
