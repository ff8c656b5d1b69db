"""`config show`, `config check` and `serve --check`."""

from pathlib import Path

import pytest

from tests.cli.conftest import QuickShell, Shell


@pytest.fixture
def quick(tmp_path: Path) -> Shell:
    return QuickShell(tmp_path, "")


def test_every_setting_is_shown_with_its_origin(quick: Shell) -> None:
    quick.write("lakehouse.toml", "[query]\ntimeout_s = 5\n")

    shown = quick.ok(
        "config", "show", "--config", "lakehouse.toml", "--json", LAKEHOUSE_SERVER__PORT="8080"
    ).json()["settings"]

    origins = {each["name"]: (each["value"], each["origin"]) for each in shown}
    assert origins["server.port"] == (8080, "LAKEHOUSE_SERVER__PORT")
    assert origins["query.timeout_s"] == (5, "lakehouse.toml:2")
    assert origins["server.host"] == ("127.0.0.1", "default")
    assert "server.port" in quick.ok("config", "show").stdout


def test_secrets_are_masked(quick: Shell) -> None:
    done = quick.ok("config", "show", LAKEHOUSE_TOKEN="hunter2")

    assert "LAKEHOUSE_TOKEN" in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize("words", [["config", "check"], ["serve", "--check"]])
def test_all_mistakes_are_said_at_once(quick: Shell, words: list[str]) -> None:
    quick.write("lakehouse.toml", "[server]\nprot = 1\n[query]\ntimeout_s = 0\n")

    done = quick.run(*words, "--config", "lakehouse.toml")
    told = quick.run(*words, "--config", "lakehouse.toml", "--json").json()

    assert done.code == 5
    assert len(done.stderr.splitlines()) == 2
    assert "lakehouse.toml:2" in done.stderr
    assert told["ok"] is False
    assert len(told["problems"]) == 2
    assert quick.ok(*words).stdout == "The configuration is right.\n"
    assert quick.ok(*words, "--json").json() == {"ok": True, "problems": []}


def test_where_the_server_is_comes_from_the_configuration(quick: Shell) -> None:
    quick.write("lakehouse.toml", "[server]\nport = 9\n")

    done = quick.run("tables", "--config", "lakehouse.toml")

    assert done.code == 6
    assert "http://127.0.0.1:9:" in done.stderr


def test_an_address_that_others_reach_is_refused(quick: Shell) -> None:
    done = quick.run("serve", "--host", "0.0.0.0", "--data", "lake")

    assert done.code == 5
    assert "server.external" in done.stderr
    assert list(quick.folder.iterdir()) == []
