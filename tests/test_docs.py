"""What the documents say is read here, so that it stays true."""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import httpx
import pytest

from benchmarks import vector_sizes
from benchmarks.__main__ import ROWS
from tests.proof.claims import load_claims
from tests.services import ServerProcess, lakehouse_server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")],
)
RECIPES = {
    "bench",
    "check",
    "doctor",
    "fix",
    "fuzz",
    "install-hooks",
    "proof",
    "serve",
    "smoke-fixtures",
    "test",
    "verify",
}


DEFAULT_URL = "http://127.0.0.1:3110"


def blocks(page: Path) -> list[str]:
    """Return the shell blocks that are to be run; one marked `refused` must fail."""
    found = re.findall(r"^```sh( refused)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [
        f"if (set -e\n{text}); then echo 'not refused' >&2; exit 1; fi" if refused else text
        for refused, text in found
    ]


def commands_of_the_readme() -> list[str]:
    """Return the shell lines of the README that install something."""
    lines = [line for block in blocks(ROOT / "README.md") for line in block.splitlines()]
    return [line for line in lines if "pip install" in line]


def recipes() -> set[str]:
    """Return the names in the justfile."""
    text = (ROOT / "justfile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*)(?: \*\w+)?:(?!=)", text, re.MULTILINE))


def test_the_readme_has_two_commands_and_ci_runs_them_word_for_word() -> None:
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    demo, suite = commands_of_the_readme()

    assert demo.endswith(".venv/bin/lakehouse demo")
    assert suite.endswith(".venv/bin/pytest -n 2 --dist loadfile")
    assert f"    {suite}" in ci
    assert f"    {demo} --exit" in ci


def test_the_readme_claims_what_the_claims_file_says_and_nothing_else() -> None:
    between = README.partition("<!-- claims:")[2].partition("<!-- end of claims -->")[0]
    rows = re.findall(r"^\| ([A-Z]+-[\w-]+) \| (.*) \|$", between, re.MULTILINE)

    assert rows == [(claim.id, claim.sentence) for claim in load_claims()]


def test_the_justfile_has_the_recipes_that_were_promised() -> None:
    assert recipes() >= RECIPES | {"default"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_recipe_and_link_of_a_page_is_there(page: Path) -> None:
    text = page.read_text()

    named = set(re.findall(r"`just ([a-z][a-z-]*)", text))
    assert named <= recipes(), f"no such recipe: {named - recipes()}"
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"the link {target} leads nowhere"


def test_every_benchmark_has_its_script() -> None:
    scripts = {path.stem.replace("_", "-") for path in (ROOT / "benchmarks").glob("*.py")}

    assert set(ROWS) <= scripts


def test_the_locks_pin_every_package_by_hash_and_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        pinned = re.findall(r"^[\w.-]+==", text, re.MULTILINE)
        assert len(pinned) > 20
        assert "://" not in text
        for requirement in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
            assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_the_development_lock_holds_the_same_versions() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / name).read_text()
        return set(re.findall(r"^([\w.-]+==\S+)", text, re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_the_decisions_are_listed_and_say_what_would_change_them() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    for page in folder.glob("0*.md"):
        assert f"({page.name})" in index
        assert "**Look again when**" in page.read_text(), page.name


def test_the_hook_runs_verify() -> None:
    hook = (ROOT / ".githooks" / "pre-push").read_text()

    assert "just verify" in hook
    assert (ROOT / ".githooks" / "pre-push").stat().st_mode & 0o111


@pytest.mark.skipif(which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_hardened() -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=yes",
            "--threshold=15",
            str(ROOT / "deploy" / "lakehouse.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-200:]


def test_scripts_of_the_shell_parse() -> None:
    for script in (".ci/run", ".ci/services", ".ci/engines", ".githooks/pre-push"):
        shell = "bash" if script.startswith(".ci/") else "sh"
        done = subprocess.run(
            [shell, "-n", str(ROOT / script)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_no_page_names_an_absolute_path_of_this_checkout() -> None:
    for page in PAGES:
        assert str(ROOT) not in page.read_text()


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
@pytest.mark.skipif(which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", ["quickstart", "rest", "security", "formats"])
def test_every_block_of_the_page_works(name: str, tmp_path: Path) -> None:
    """Each page begins on an empty directory; a block that fails stops it, and is shown."""
    command = f'lakehouse() {{ "{sys.executable}" -m lakehouse "$@"; }}'
    script = "\n".join([command, *blocks(ROOT / "docs" / f"{name}.md")])
    with lakehouse_server(tmp_path / "lakehouse-data") as server:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-x", "-c", script.replace(DEFAULT_URL, server.url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LAKEHOUSE_URL": server.url, "PYTHONPATH": str(ROOT)},
        )

    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-2000:]}"


def test_the_rest_page_has_every_route_and_no_other(served: ServerProcess) -> None:
    document = httpx.get(f"{served.url}/schema/openapi.json").json()
    routes = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "put", "post", "delete", "patch")
    }
    text = (ROOT / "docs" / "rest.md").read_text()

    assert set(re.findall(r"^### `([A-Z]+ \S+)`$", text, re.MULTILINE)) == routes


def test_every_route_of_the_page_has_a_call() -> None:
    text = (ROOT / "docs" / "rest.md").read_text()

    for section in text.split("\n### ")[1:]:
        assert "```sh" in section.split("\n## ")[0], section.splitlines()[0]


def test_the_benchmarks_page_shows_the_newest_figures() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    shown = text.partition("<!-- figures:")[2].partition("-->")[2]
    shown = shown.partition("<!-- end of figures -->")[0].strip()
    newest = max((ROOT / "benchmarks" / "results").glob("*.md"), default=None)

    assert shown == (newest.read_text().strip() if newest else "There are none yet.")


def test_the_page_of_vectors_shows_the_newest_sizes() -> None:
    assert vector_sizes.shown() == vector_sizes.newest()


def test_the_benchmarks_page_names_every_row() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()

    assert not [row for row in ROWS if row not in text]
