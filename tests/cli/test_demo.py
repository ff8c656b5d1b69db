"""The demo from end to end, and the data it brings."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from lakehouse.cli.demo_data import make
from tests.cli.conftest import Shell, wait_for_line
from tests.services import environment, free_port

DATA = Path(str(files("lakehouse.cli") / "demo_data"))


@pytest.mark.slow
def test_the_demo_runs_to_its_end_and_shows_each_way(alone: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = alone.ok("demo", "--exit", "--data", "lake", "--port", str(port))

    for words in (
        f"Port {port} is taken",
        "Load cities.csv",
        "Load orders.csv",
        "4,000 rows",
        "a join of both",
        'lakehouse sql "SELECT',
        "curl -fsS http://127.0.0.1:",
        "4,000 orders before, 4,001 after",
        "--as-of orders=",
        "10 texts, each as a vector",
        "lakehouse vectors search products 'coffee before going to bed'",
    ):
        assert words in done.stdout
    assert done.stdout.index("Decaf, 500 g") < done.stdout.index("Espresso blend, 250 g")
    assert "\x1b[" not in done.stdout
    assert done.stderr == ""
    assert (alone.folder / "lake" / "warehouse" / "tables").is_dir()
    again = alone.run("demo", "--exit", "--data", "lake")
    assert again.code == 4
    assert "is not empty" in again.stderr


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_the_demo_tells_machines_in_one_document_and_serves_on_until_it_is_stopped(
    alone: Shell,
) -> None:
    command = [sys.executable, "-m", "lakehouse", "demo", "--json", "--port", str(free_port())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        try:
            told = json.loads(wait_for_line(process, '"steps"'))
            # What it shows is what does it: all requests by hand, and the append as a command.
            httpx.delete(f"{told['url']}/v1/vectors/index/products").raise_for_status()
            by_hand = [*(step["curl"] for step in told["steps"]), told["steps"][3]["command"]]
            script = 'lakehouse() { "$PYTHON" -m lakehouse "$@"; }\n' + "\n".join(by_hand)
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                env=environment(PYTHON=sys.executable),
                stdout=subprocess.DEVNULL,
                check=True,
            )
            count = {"sql": "SELECT count(*) FROM orders"}
            answer = httpx.post(f"{told['url']}/v1/sql", json=count)
        finally:
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)

    assert answer.json()["rows"] == [[4002]]  # the file again, and two appends
    assert (process.returncode, rest) == (0, "")
    assert not Path(told["data_dir"]).exists()
    steps = told["steps"]
    assert len(steps) == 9
    assert steps[8]["result"]["results"][0]["id"] == "Decaf, 500 g"
    assert len(steps[2]["result"]["rows"]) == 5
    assert [step["result"]["rows"][0] for step in steps[4:6]] == [[4001, 104_001], [4000, 104_000]]


def test_the_bundled_files_are_what_the_script_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "HERE", tmp_path)
    make.main()

    for name in ("orders.csv", "cities.csv"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()


def test_the_bundled_files_hold_what_makes_csv_hard() -> None:
    with (DATA / "orders.csv").open(encoding="utf-8", newline="") as file:
        orders = list(csv.DictReader(file))
    text = (DATA / "orders.csv").read_text("utf-8")

    assert len(orders) == 4000
    assert any("," in order["product"] for order in orders)
    assert any('"' in order["product"] for order in orders)
    assert any("\n" in order["note"] for order in orders)
    assert any(order["discount"] == "" for order in orders)
    assert not text.isascii()
