"""Other servers on the same machine: installed from the package registry, on first use."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.files import folder
from benchmarks.serving import answers, free_port

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
START_TIMEOUT_S = 60.0


class NotHereError(Exception):
    """A rival cannot be had on this machine; the row says so and has no reference."""


def environment() -> Path:
    """Return the `bin` folder of the rivals' own environment."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    path = folder() / f"rivals-{digest}"
    if not (path / "done").exists():
        shutil.rmtree(path, ignore_errors=True)
        pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r"]
        for command in ([sys.executable, "-m", "venv", str(path)], [*pip, str(REQUIREMENTS)]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotHereError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
        (path / "done").touch()
    return path / "bin"


def version_of(name: str) -> str:
    """Return a rival's name with its version."""
    library = next((environment().parent / "lib").glob("python3*")) / "site-packages"
    for each in distributions(name=name, path=[str(library)]):
        return f"{name} {each.version}"
    return name


@contextmanager
def roapi(tables: dict[str, Path]) -> Iterator[int]:
    """Serve Parquet files with ROAPI; yield its port. SQL goes to POST `/api/sql` as text."""
    port = free_port()
    command = [str(environment() / "roapi"), "-a", f"127.0.0.1:{port}"]
    for name, path in tables.items():
        command += ["-t", f"{name}={path}"]
    with serving(command, port, "/health"):
        yield port


@contextmanager
def datasette() -> Iterator[int]:
    """Serve an empty database with Datasette; yield its port. SQL: `/_memory.json?sql=`."""
    port = free_port()
    command = [str(environment() / "datasette"), "serve", "--memory", "--port", str(port)]
    with serving(command, port, "/-/versions.json"):
        yield port


@contextmanager
def chroma(place: Path | None = None) -> Iterator[int]:
    """Serve a directory with Chroma, an empty one unless one is given; yield its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as empty:
        command = [str(environment() / "chroma"), "run", "--path", str(place or empty)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        with serving(command, port, "/api/v2/heartbeat"):
            yield port


@contextmanager
def serving(command: Sequence[str], port: int, ready: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not answers(port, ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise NotHereError(f"{command[0]} is not up: {output.read()[-500:]!r}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)
