"""`docs/configuration.md` and `lakehouse.example.toml`, written from the settings themselves."""

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lakehouse.config import config
from lakehouse.config.loading import OTHER_VARIABLES, SECRETS, SECTIONS, variable_of
from lakehouse.config.values import builtin, described

PAGE = Path("docs/configuration.md")
EXAMPLE = Path("lakehouse.example.toml")
MADE_BY = "Made by `python -m lakehouse.config` from lakehouse/config/config.py: do not edit."

HEAD = f"""\
<!-- {MADE_BY} -->
# Configuration

Every setting has a default that works; no file is needed. `lakehouse serve --config lakehouse.toml`
reads one. Variables go before it: `LAKEHOUSE_<SECTION>__<KEY>`, so `LAKEHOUSE_SERVER__PORT=8080`;
a list is written `a, b`.

`lakehouse serve --check` says everything that is wrong at once, with line, key and the nearest key
there is. `lakehouse config show` prints what is in force and where each value comes from. A file
with every setting at its default: [lakehouse.example.toml](../lakehouse.example.toml).
"""

MEMORY = """\
The budget is split: half is DuckDB's own limit, a fifth is for vectors, a sixth for uploads and
results on their way, the rest for all else. A limit of the kernel (`RLIMIT_DATA`) stands behind it.
"""


def docstrings() -> dict[str, dict[str, str]]:
    """Return what stands under each field of each section of `config.py`."""
    found: dict[str, dict[str, str]] = {}
    for section in ast.parse(inspect.getsource(config)).body:
        if not isinstance(section, ast.ClassDef):
            continue
        fields = found.setdefault(section.name, {})
        for statement, following in zip(section.body, section.body[1:], strict=False):
            match statement, following:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    fields[name] = inspect.cleandoc(text)
    return found


def settings() -> Iterator[tuple[str, str, list[tuple[msgspec.structs.FieldInfo, str]]]]:
    """Yield each section's name and sentence, and its fields with theirs."""
    texts = docstrings()
    for name, type_ in SECTIONS.items():
        fields = msgspec.structs.fields(type_)
        about = inspect.cleandoc(type_.__doc__ or "")
        yield name, about, [(each, texts[type_.__name__][each.name]) for each in fields]


def page() -> str:
    lines = [HEAD]
    for section, about, fields in settings():
        lines += [f"## {section}", "", about, ""]
        if section == "memory":
            lines += [MEMORY]
        lines += ["| Key | Default | Is | Meaning |", "|---|---|---|---|"]
        lines += [
            "| " + " | ".join([f"`{each.name}`", default, described(each.type), text]) + " |"
            for each, text in fields
            for default in [default_in_words(each.default)]
        ]
        lines += [""]
    lines += ["## Variables that are no settings", "", "| Variable | Meaning |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in (SECRETS | OTHER_VARIABLES).items()]
    lines += ["| `STATE_DIRECTORY` | Set by systemd: where `data_dir` is when nothing says so. |"]
    lines += ["| `RUNTIME_DIRECTORY` | Set by systemd: where the socket of the operator is. |"]
    lines += ["| `NOTIFY_SOCKET` | Set by systemd: told when the server is ready and stopping. |"]
    lines += ["| `WATCHDOG_USEC` | Set by systemd: how often it is told that the server lives. |"]
    lines += [
        "",
        "Any other variable that begins with `LAKEHOUSE_` is an error: it may be a misspelt one.",
    ]
    lines += ["Secrets are never settings: a setting names the file that a secret lies in."]
    return "\n".join(lines) + "\n"


def example() -> str:
    lines = [f"# {MADE_BY}", "# Every setting at its default. Each line may be left out.", ""]
    for section, about, fields in settings():
        lines += [f"# {about}", f"[{section}]"]
        for each, text in fields:
            lines += [f"# {text} {variable_of(f'{section}.{each.name}')}"]
            lines += [toml_line(each.name, each.default)]
        lines += [""]
    return "\n".join(lines[:-1]) + "\n"


def toml_line(key: str, default: Any) -> str:
    if default is None:
        return f"# {key} ="
    return f"{key} = {toml(builtin(default))}{remark(default)}"


def toml(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}" if value >= 10_000 else str(value)
    return json.dumps(value)  # of texts and lists of texts TOML and JSON write the same


def remark(value: Any) -> str:
    size = in_units(value)
    return f"  # {size}" if size else ""


def default_in_words(value: Any) -> str:
    if value is None or value == ():
        return "unset" if value is None else "none"
    return in_units(value) or f"`{str(value).lower() if isinstance(value, bool) else value}`"


def in_units(value: Any) -> str:
    """`268435456` -> `256 MiB`; nothing for numbers that are no round sizes."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if isinstance(value, int) and value >= size and value % size == 0:
            return f"{value // size} {unit}"
    return ""


def write(root: Path) -> None:
    """Write both files into a checkout."""
    (root / PAGE).write_text(page(), encoding="utf-8")
    (root / EXAMPLE).write_text(example(), encoding="utf-8")
