"""The command line as a user has it: a process, in a folder of its own."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lakehouse.cli import lakehouse
from tests.services import ServerProcess, environment, lakehouse_server

TIMEOUT_S = 60


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return the one document on stdout."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Shell:
    """Runs `lakehouse ...` in a folder, against one server."""

    folder: Path
    url: str

    def run(self, *words: str | Path, stdin: str = "", **variables: str) -> Done:
        """Run the command as a process, the way a user does."""
        url = {"LAKEHOUSE_URL": self.url} if self.url else {}
        done = subprocess.run(
            [sys.executable, "-m", "lakehouse", *map(str, words)],
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment(COLUMNS="120", **url, **variables),
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str | Path, stdin: str = "", **variables: str) -> Done:
        done = self.run(*words, stdin=stdin, **variables)
        assert done.code == 0, done.stderr
        return done

    def on_terminal(self, *words: str) -> str:
        """Run the command on a terminal of 100 columns; return all that it showed."""
        master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        variables = environment(LAKEHOUSE_URL=self.url, TERM="xterm-256color")
        variables.pop("COLUMNS", None)
        with subprocess.Popen(
            [sys.executable, "-m", "lakehouse", *words],
            cwd=self.folder,
            stdout=terminal,
            stderr=terminal,
            env=variables,
        ):
            os.close(terminal)
            seen = b""
            with suppress(OSError):  # the kernel's word for the end of a terminal
                while piece := os.read(master, 65536):
                    seen += piece
        os.close(master)
        return seen.decode()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


class QuickShell(Shell):
    """The same commands within this process: starting one takes half a second."""

    def run(self, *words: str | Path, stdin: str = "", **variables: str) -> Done:
        with chdir(self.folder):
            done = CliRunner().invoke(
                lakehouse,
                list(map(str, words)),
                input=stdin,
                env={"COLUMNS": "120", "LAKEHOUSE_URL": self.url, **variables},
            )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all commands: each test has tables of its own."""
    with lakehouse_server(tmp_path_factory.mktemp("served") / "data") as server:
        yield server


@pytest.fixture
def quick(tmp_path: Path, served: ServerProcess) -> Shell:
    """For what a command understands and answers."""
    return QuickShell(tmp_path, served.url)


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell without any server."""
    return Shell(tmp_path, "")


@pytest.fixture
def shell(tmp_path: Path, served: ServerProcess) -> Shell:
    """For what only a process shows: streams, exit codes, colours, the terminal."""
    return Shell(tmp_path, served.url)


def wait_for_line(process: "subprocess.Popen[str]", words: str) -> str:
    """Return the first line of its output that holds `words`; the process must not end before."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}:\n{''.join(seen)}")
