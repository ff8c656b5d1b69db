"""What the documents say is read here, so that it stays true."""

import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

from benchmarks.__main__ import ROWS
from tests.proof.claims import load_claims

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
    "install-hooks",
    "proof",
    "serve",
    "smoke-fixtures",
    "test",
    "verify",
}


def commands_of_the_readme() -> list[str]:
    """Return the shell lines of the README that install something."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if "pip install" in line]


def recipes() -> set[str]:
    """Return the names in the justfile."""
    text = (ROOT / "justfile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*)(?: \*\w+)?:(?!=)", text, re.MULTILINE))


def test_the_readme_has_two_commands_and_ci_runs_them_word_for_word() -> None:
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    demo, suite = commands_of_the_readme()

    assert demo.endswith(".venv/bin/lakehouse demo")
    assert suite.endswith(".venv/bin/pytest")
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
    for script in (".ci/run", "deploy/backup", ".githooks/pre-push"):
        shell = "bash" if script == ".ci/run" else "sh"
        done = subprocess.run(
            [shell, "-n", str(ROOT / script)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_no_page_names_an_absolute_path_of_this_checkout() -> None:
    for page in PAGES:
        assert str(ROOT) not in page.read_text()
