"""`python -m lakehouse.config_docs`: the reference of all settings, written from the code.

`docs/configuration.md` and `lakehouse.example.toml` are compared with what this makes in a test.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lakehouse import config

HEAD = """# Configuration

Every setting, written by `python -m lakehouse.config_docs` from `lakehouse/config.py`.

A setting comes from its default, then from the TOML file that `--config` names, then from the
variable `LAKEHOUSE_<SECTION>__<KEY>` (lists with commas). `lakehouse config show` prints the
values in force and where each comes from; `lakehouse serve --check` names everything that is
wrong with a file at once, by line. Secrets are never settings.
"""
EXAMPLE_HEAD = """# Every setting at its default, for `lakehouse serve --config lakehouse.toml`.
# What has no default is commented out. Written by `python -m lakehouse.config_docs`.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    section: str
    key: str
    default: Any
    text: str

    @property
    def variable(self) -> str:
        return f"{config.PREFIX}{self.section}__{self.key}".upper()


def settings() -> Iterator[Setting]:
    """Yield every setting with the words under it, in the order of the code."""
    for section in msgspec.structs.fields(config.Config):
        words = field_docstrings(section.type)
        for field in msgspec.structs.fields(section.type):
            yield Setting(section.name, field.name, field.default, words[field.name])


def field_docstrings(section: type) -> dict[str, str]:
    (tree,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(tree, ast.ClassDef)
    words: dict[str, str] = {}
    for before, here in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(here, ast.Expr)
            and isinstance(here.value, ast.Constant)
        ):
            words[before.target.id] = " ".join(str(here.value.value).split())
    return words


def toml_value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(each) for each in value) + "]"
    return str(value)


def reference() -> str:
    parts, section = [HEAD], ""
    for setting in settings():
        if setting.section != section:
            section = setting.section
            parts.append(f"\n## [{section}]\n\n| Key | Default | Meaning |\n|---|---|---|\n")
        default = "" if setting.default is None else f"`{toml_value(setting.default)}`"
        parts.append(f"| `{setting.key}` | {default} | {setting.text} |\n")
    return "".join(parts)


def example() -> str:
    parts, section = [EXAMPLE_HEAD], ""
    for setting in settings():
        if setting.section != section:
            section = setting.section
            parts.append(f"\n[{section}]\n")
        parts.append(f"# {setting.text}\n")
        unset = setting.default is None
        value = "..." if unset else toml_value(setting.default)
        parts.append(f"{'# ' if unset else ''}{setting.key} = {value}\n")
    return "".join(parts)


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    (root / "docs" / "configuration.md").write_text(reference())
    (root / "lakehouse.example.toml").write_text(example())
