"""`lakehouse embed`: how near texts are, and all of their numbers."""

from tests.cli.conftest import Shell


def test_texts_are_compared_and_printed(shell: Shell) -> None:
    shown = shell.ok("embed", "a dog barks", "the hound is barking", "a mountain lake").stdout
    told = shell.ok("embed", "--json", "a dog barks").json()
    listed = shell.ok("embed", "--models", "--json").json()
    refused = shell.run("embed")
    assert "static-minilm-256" in shown or "of 256 numbers" in shown
    assert "1.0" in shown
    assert (len(told["vectors"]), len(told["vectors"][0])) == (1, told["dimension"])
    assert listed["models"][0]["name"] == told["model"] == "static-minilm-256"
    assert refused.code == 2
