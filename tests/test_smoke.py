"""The demo and the contract claims need this process and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

FORBIDDEN_PORTS = {9000, 11434}  # MinIO's and Ollama's
TIMEOUT_S = 120

# Python runs a module of this name at its start, and an audit hook sees every connection.
RECORDER = """
import os, sys

def record(event, arguments):
    if event == "socket.connect":
        with open(os.environ["CONNECTIONS"], "a") as file:
            print(arguments[1], file=file)

sys.addaudithook(record)
"""


def test_the_demo_connects_to_nothing_but_itself(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    connections = tmp_path / "connections"
    connections.touch()

    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", "demo", "--exit", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "CONNECTIONS": str(connections)},
    )

    assert done.returncode == 0, done.stderr[-2000:]
    addresses = connections.read_text().splitlines()
    assert addresses, "the recorder saw the demo talk to its own server"
    for address in addresses:
        assert "127.0.0.1" in address or address.startswith("/"), address
        assert not any(str(port) in address for port in FORBIDDEN_PORTS), address
