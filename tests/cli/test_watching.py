"""`lakehouse watch`: each file once, whatever ends the command or the server in between."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.cli.watched import (
    Directory,
    DirectoryWatchedError,
    Stillness,
    Waiting,
    sha256_of,
)
from lakehouse.errors import InvalidInputError, NotFoundError
from tests.cli.conftest import Shell
from tests.services import environment, free_port, lakehouse_server

QUICK = ("--settle", "0.1", "--interval", "0.1")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


def table_of(inbox: Path) -> str:
    return f"w_{abs(hash(inbox)):x}"


def rows(url: str, table: str) -> list[Any]:
    sql = {"sql": f'SELECT * FROM "{table}" ORDER BY ALL'}
    answer = httpx.post(f"{url}/v1/sql", json=sql)
    return [row[0] for row in answer.json()["rows"]] if answer.is_success else []


def has_rows(url: str, table: str, count: int) -> bool:
    return rows(url, table) == list(range(count))


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def hashed(directory: Directory, file: Waiting) -> str:
    with directory.opened(file) as opened:
        return sha256_of(opened)


# Below: what is known of a directory.


def test_a_file_is_known_by_its_name_and_content(inbox: Path) -> None:
    (inbox / "a.csv").write_text("id\n1\n")
    with Directory.hold(inbox, "t") as first:
        (file,) = first.waiting()
        first.loaded(file, hashed(first, file), 1)
        assert first.waiting() == []
    os.utime(inbox / "a.csv", ns=(1, 1))
    (inbox / "b.csv").write_text("id\n1\n")

    with Directory.hold(inbox, "t") as second:
        touched, other = second.waiting()
        assert (touched.name, other.name) == ("a.csv", "b.csv")
        assert second.is_known(touched, hashed(second, touched))
        assert not second.is_known(other, hashed(second, other))
        assert second.key(touched, "x") != second.key(other, "x")
        assert second.key(touched, "x") == second.key(touched, "x") != second.key(touched, "y")


def test_a_journal_that_was_cut_short_is_read_as_far_as_it_goes(inbox: Path) -> None:
    for name in ("a.csv", "b.csv", "gone.csv"):
        (inbox / name).write_text(name)
    with Directory.hold(inbox, "t") as first:
        for file in first.waiting():
            first.loaded(file, hashed(first, file), 1)
    journal = inbox / ".lakehouse" / "t" / "journal.jsonl"
    (inbox / "gone.csv").unlink()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:1]) + lines[1][:20])

    with Directory.hold(inbox, "t") as second:
        assert [each.name for each in second.waiting()] == ["b.csv"]
    assert len(journal.read_bytes().splitlines()) == 1


def test_the_oldest_file_comes_first_and_what_is_unfinished_is_passed_over(inbox: Path) -> None:
    names = [
        "new.csv",
        "deep/old.csv",
        ".hidden.csv",
        "_temp/x.csv",
        "a.csv.part",
        "b.tmp",
        "c.txt",
    ]
    for number, name in enumerate(names):
        (inbox / name).parent.mkdir(exist_ok=True)
        (inbox / name).write_text("x")
        os.utime(inbox / name, (100 - number, 100 - number))

    with Directory.hold(inbox, "t", "*.csv") as directory:
        assert [each.name for each in directory.waiting()] == ["deep/old.csv", "new.csv"]


def test_a_link_is_no_file_of_the_directory(inbox: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nhidden\n")
    (inbox / "a.csv").symlink_to(secret)
    (inbox / "folder").symlink_to(tmp_path)
    (inbox / "b.csv").write_text("id\n1\n")

    with Directory.hold(inbox, "t") as directory:
        assert [each.name for each in directory.waiting()] == ["b.csv"]


@pytest.mark.parametrize("name", ["a.csv", "deep/a.csv"])
def test_what_is_put_in_the_place_of_a_file_is_not_read(
    inbox: Path, tmp_path: Path, name: str
) -> None:
    """Between the look at its name and the load, by who may write the directory."""
    path, secret = inbox / name, tmp_path / "secrets" / "a.csv"
    for each in (path, secret):
        each.parent.mkdir(exist_ok=True)
        each.write_text("word\nhidden\n")
        os.utime(each, ns=(1, 1))

    def in_its_place(put: Callable[[Path], object]) -> None:
        place = path if name == "a.csv" else path.parent
        place.rename(tmp_path / "taken")
        put(place)
        with pytest.raises(OSError), directory.opened(file):
            raise AssertionError("it was opened")
        if place.is_symlink():
            with suppress(InvalidInputError):
                directory.set_aside(file, {})
        assert secret.exists(), "nothing outside of the directory is moved"
        place.unlink(missing_ok=True)
        (tmp_path / "taken").rename(place)

    with Directory.hold(inbox, "t") as directory:
        (file,) = directory.waiting()
        in_its_place(lambda place: place.symlink_to(secret if name == "a.csv" else secret.parent))
        in_its_place(os.mkfifo)
        in_its_place(lambda place: place.write_text("another"))
        assert hashed(directory, file) == hashlib.sha256(secret.read_bytes()).hexdigest()


def test_a_file_is_still_when_it_did_not_change_for_a_while(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    still, path = Stillness(2), inbox / "a.csv"
    with Directory.hold(inbox, "t") as directory:
        path.write_text("1")
        assert still.of(directory.waiting()) == []
        now[0] += 1.9
        assert still.of(directory.waiting()) == []
        path.write_text("12")
        now[0] += 1.9
        assert still.of(directory.waiting()) == []
        now[0] += 2
        assert [each.name for each in still.of(directory.waiting())] == ["a.csv"]


def test_one_watch_has_a_directory_for_a_table(inbox: Path) -> None:
    with Directory.hold(inbox, "t"):
        with (
            pytest.raises(DirectoryWatchedError, match="stop it first"),
            Directory.hold(inbox, "t"),
        ):
            pass
        with Directory.hold(inbox, "other"):
            pass


def test_a_directory_must_be_there_and_be_writable(inbox: Path) -> None:
    with pytest.raises(NotFoundError), Directory.hold(inbox / "gone", "t"):
        pass
    (inbox / ".lakehouse").write_text("a file where the folder would be")
    with pytest.raises(InvalidInputError, match="cannot be written"), Directory.hold(inbox, "t"):
        pass


# Below: the command.


def test_once_loads_what_is_there_and_nothing_twice(shell: Shell, inbox: Path) -> None:
    table = table_of(inbox)
    (inbox / "a.csv").write_text("id\n1\n")
    (inbox / "b.ndjson").write_text('{"id": 2}\n')

    first = shell.ok("watch", inbox, "--table", table, "--once", "--json", *QUICK).json()
    again = shell.ok("watch", inbox, "--table", table, "--once", "--json", *QUICK).json()

    assert [each["file"] for each in first["loaded"]] == ["a.csv", "b.ndjson"]
    assert again == {"loaded": [], "failed": [], "left": []}
    assert rows(shell.url, table) == [1, 2]


def test_a_bad_file_is_set_aside_with_its_reason_and_the_others_are_loaded(
    shell: Shell, inbox: Path
) -> None:
    table = table_of(inbox)
    for number, (name, text) in enumerate(
        {"a.csv": "id\n1\n", "b.csv": "id\nnone\n", "c.pdf": "%PDF-1.7", "d.csv": "id\n4\n"}.items()
    ):
        (inbox / name).write_text(text)
        os.utime(inbox / name, (number, number))

    done = shell.run("watch", inbox, "--table", table, "--once", *QUICK)

    assert done.code == 5, done.stderr
    assert "2 files set aside" in done.stderr
    assert rows(shell.url, table) == [1, 4]
    assert sorted(path.name for path in inbox.iterdir() if path.is_file()) == ["a.csv", "d.csv"]
    failed = inbox / ".lakehouse" / table / "failed"
    reasons = {}
    for path in failed.glob("*.reason.json"):
        told = json.loads(path.read_text())
        assert path.with_name(path.name.removesuffix(".reason.json")).exists()
        reasons[told["file"]] = (told["type"], told["context"])
    assert reasons["b.csv"][0] == "schema-drift"
    assert reasons["b.csv"][1]["rows"][0]["line"] == 2
    assert reasons["c.pdf"][0] == "unknown-format"


def test_the_reasons_are_in_the_document_too(shell: Shell, inbox: Path) -> None:
    (inbox / "c.pdf").write_text("%PDF-1.7")

    done = shell.run("watch", inbox, "--table", table_of(inbox), "--once", "--json", *QUICK)

    assert done.code == 5
    (failed,) = done.json()["failed"]
    assert (failed["file"], failed["type"]) == ("c.pdf", "unknown-format")
    assert Path(failed["now"]).read_text() == "%PDF-1.7"


def test_files_are_read_as_an_ingest_is_told_to(shell: Shell, inbox: Path) -> None:
    table = table_of(inbox)
    (inbox / "a.txt").write_text("1   Ada \n2   Bo  \n")

    shell.ok("watch", inbox, "--table", table, "--once", *QUICK, "--widths", "id:4,name:4")

    assert rows(shell.url, table) == [1, 2]


def test_what_the_server_refuses_altogether_sets_no_file_aside(shell: Shell, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id\n1\n")

    done = shell.run("watch", inbox, "--table", "memory.t", "--once", *QUICK)
    no_names = [
        shell.run("watch", inbox, "--table", name, "--once", *QUICK) for name in ("", "x/y")
    ]
    nobody = Shell(shell.folder, "http://127.0.0.1:9")
    away = nobody.run("watch", inbox, "--table", "t", "--once", *QUICK)

    assert (done.code, away.code) == (5, 6), (done.stderr, away.stderr)
    assert [each.code for each in no_names] == [5, 5]
    assert (inbox / "a.csv").exists()


def test_a_watch_without_an_end_has_no_document(shell: Shell, inbox: Path) -> None:
    assert shell.run("watch", inbox, "--table", "t", "--json").code == 2


def watching(shell: Shell, inbox: Path, table: str) -> "subprocess.Popen[str]":
    words = ["watch", str(inbox), "--table", table, *QUICK]
    return subprocess.Popen(
        [sys.executable, "-m", "lakehouse", *words],
        cwd=shell.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(LAKEHOUSE_URL=shell.url),
        # What a shell runs in the background hears no Ctrl-C, nor does what that starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def test_files_come_while_it_watches_and_ctrl_c_ends_it(shell: Shell, inbox: Path) -> None:
    table = table_of(inbox)
    process = watching(shell, inbox, table)
    try:
        for number in range(3):
            (inbox / f"{number}.csv").write_text(f"id\n{number}\n")
            wait_for(partial(has_rows, shell.url, table, number + 1))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "watching" in said


def test_a_kill_at_any_point_loses_no_file_and_loads_none_twice(shell: Shell, inbox: Path) -> None:
    table, count = table_of(inbox), 24
    for number in range(count):
        (inbox / f"{number:02}.csv").write_text(f"id\n{number}\n")
    for round_ in range(40):
        process = watching(shell, inbox, table)
        try:
            time.sleep(0.5 + 0.11 * (round_ % 9))
        finally:
            process.kill()
            process.communicate()
        if len(rows(shell.url, table)) == count:
            break
    # Whoever was killed between the answer and the journal sends the last one again.
    (inbox / ".lakehouse" / table / "journal.jsonl").write_text("")
    shell.ok("watch", inbox, "--table", table, "--once", *QUICK)

    assert rows(shell.url, table) == list(range(count))


def test_a_server_that_is_killed_meanwhile_loads_each_file_once(
    tmp_path: Path, inbox: Path
) -> None:
    table, count, port = table_of(inbox), 9, free_port()
    shell = Shell(tmp_path, f"http://127.0.0.1:{port}")
    with watching(shell, inbox, table) as process:
        try:
            for third in range(3):
                with lakehouse_server(tmp_path / "data", port=port) as server:
                    for number in range(3 * third, 3 * third + 3):
                        (inbox / f"{number}.csv").write_text(f"id\n{number}\n")
                    if third == 2:
                        wait_for(partial(has_rows, shell.url, table, count))
                        break
                    wait_for(lambda: len(rows(shell.url, table)) > 0)
                    server.signal(signal.SIGKILL)
                    server.wait()
            assert process.poll() is None, "the watch goes on while the server is away"
        finally:
            process.kill()
            process.communicate()
    assert not list((inbox / ".lakehouse" / table / "failed").iterdir())
