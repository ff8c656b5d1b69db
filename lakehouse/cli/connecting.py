"""`connect`: what other engines need to open the tables of a server, filled in for it.

A snippet is a file in `snippets/`. A line may begin with words in brackets: it is there where all
of them hold (`conditions_of`). A word in angles is filled in (`values_of`): `<endpoint>` as it is,
`<sql:endpoint>` as a literal of SQL (`FORMS`).
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import click

from lakehouse.cli import output
from lakehouse.cli.connect_commands import ENGINES
from lakehouse.cli.settings import settings
from lakehouse.cli.where import COMMAND_LINE, url_of
from lakehouse.client import Client, Grant, IcebergConfig, TableSummary
from lakehouse.config import TOKEN_VARIABLE, data_directory
from lakehouse.errors import NotFoundError, UnavailableError
from lakehouse.state import served_at

NAMESPACE = "main"
WORD = re.compile(r"\w+")
LINE = re.compile(r"((?:\[\w+\])*)(.*)")
PLACE = re.compile(r"<(?:(\w+):)?(\w+)>")
Words: TypeAlias = tuple[str, ...]


class NobodyServesError(UnavailableError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"no server holds {path}: an engine needs one that runs", path=str(path))


@dataclass(frozen=True)
class Lake:
    """What a snippet says of a server."""

    url: str
    config: IcebergConfig
    namespace: str
    """Where it begins."""
    table: str | None
    """What it reads; None where there is none yet."""
    has_token: bool
    may_write: bool


def connect(
    engine: str | None,
    table: str | None,
    url: str | None,
    data_dir: Path | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    if engine is None:
        list_engines(as_json)
        return
    with Client(address(url, data_dir, config_file)) as client:
        lake = asked(client, table)
    text = snippet(engine, lake)
    if as_json:
        warehouse = "bucket" if lake.config.defaults else "folder"
        found = {"engine": engine, "url": lake.url, "warehouse": warehouse, "snippet": text}
        output.emit(found)
    else:
        click.echo(text, nl=False)


def list_engines(as_json: bool) -> None:
    if as_json:
        output.emit({"engines": [{"engine": name, "what": ENGINES[name]} for name in ENGINES]})
        return
    output.show([("engine", ""), ("what is printed", "")], list(ENGINES.items()))
    output.stderr().print("`lakehouse connect ENGINE` prints it for the server that runs.")


def address(url: str | None, data_dir: Path | None, config_file: Path | None) -> str:
    """Return the address of a server as others reach it: never the socket of its owner.

    Raises:
        NobodyServesError: no server holds the directory that was named.
    """
    if data_dir is not None:
        # A --data goes before $LAKEHOUSE_URL; two options contradict each other.
        if click.get_current_context().get_parameter_source("url") is COMMAND_LINE:
            raise click.UsageError("give --url or --data, not both")
        found = served_at(data_dir)
        if found is None:
            raise NobodyServesError(data_dir)
        return found
    if url:
        return url
    config = settings(config_file)
    return served_at(data_directory(config)) or url_of(config)


def asked(client: Client, name: str | None) -> Lake:
    """Ask a server what a snippet says of it.

    Raises:
        TableNotFoundError: it has no table of that name.
        UnavailableError: there is no such server.
        UnauthenticatedError: it asks for a token, and none is set.
    """
    found = client.describe(name) if name is not None else first_table(client)
    namespace = found.namespace if found else NAMESPACE
    grants = client.tokens.who_am_i().grants
    return Lake(
        url=client.url,
        config=client.iceberg.config(),
        namespace=namespace,
        table=found.name if found else None,
        has_token=bool(os.environ.get(TOKEN_VARIABLE)),
        may_write=any(writes_to(namespace, grant) for grant in grants),
    )


def writes_to(namespace: str, grant: Grant) -> bool:
    """Whether who has a grant may make a table in a namespace: engines stop where they may not."""
    covers = grant.on == "*" or f"{namespace}.".startswith(f"{grant.on}.")
    return covers and grant.role != "reader"


def first_table(client: Client) -> TableSummary | None:
    """Return a table that can be read, of `main` if there is one; None: there is none at all."""
    for within in (NAMESPACE, None):
        with suppress(NotFoundError):  # `main` is not there for a token of another namespace
            for each in client.tables(within):
                if each.damaged is None:
                    return each
    return None


def snippet(engine: str, lake: Lake) -> str:
    """Return the snippet of an engine for a server."""
    text = (files("lakehouse.cli.snippets") / f"{engine}.txt").read_text(encoding="utf-8")
    holds, values = conditions_of(lake), values_of(engine, lake)
    lines = [LINE.findall(line)[0] for line in text.splitlines()]
    kept = [rest for conditions, rest in lines if holds.issuperset(WORD.findall(conditions))]

    def filled(place: re.Match[str]) -> str:
        return FORMS[place[1]](values[place[2]])

    return "".join(f"{PLACE.sub(filled, line)}\n" for line in kept)


def conditions_of(lake: Lake) -> set[str]:
    """Return the words that lines of a snippet may ask for."""
    return {
        "token" if lake.has_token else "open",
        "s3" if lake.config.defaults else "local",
        *(["table"] if lake.table is not None else []),
        *(["writes"] if lake.may_write else []),
    }


def values_of(engine: str, lake: Lake) -> Mapping[str, Words]:
    """Return what lines of a snippet may name; of a table the namespace and its own name."""
    store = lake.config.defaults
    endpoint = store.get("s3.endpoint", "")
    is_path_style = store.get("s3.path-style-access") == "true"
    return {
        "endpoint": (f"{lake.url}/iceberg",),
        "namespace": (lake.namespace,),
        "table": (lake.namespace, lake.table or ""),
        "trial": (lake.namespace, f"trial_{engine}"),
        "s3_endpoint": (endpoint,),
        "s3_host": (endpoint.partition("://")[2],),
        "s3_path_style": (str(is_path_style).lower(),),
        "s3_region": (store.get("s3.region", ""),),
        "s3_style": ("path" if is_path_style else "vhost",),
        "s3_tls": (str(endpoint.startswith("https:")).lower(),),
    }


def plain(words: Words) -> str:
    return ".".join(words)


def as_text_of_sql(words: Words) -> str:
    return "'" + plain(words).replace("'", "''") + "'"


def as_json(words: Words) -> str:
    """Return a text as Python and YAML have it, too."""
    return json.dumps(plain(words), ensure_ascii=False)


def as_path(words: Words) -> str:
    """Return a tuple of Python: each level of a namespace by itself, then the name."""
    levels = [as_json((each,)) for each in levels_of(words)]
    return f"({', '.join(levels)}{',' if len(levels) == 1 else ''})"


def quoted(words: Words) -> str:
    """Return a name in SQL, where a namespace is one word."""
    return ".".join('"' + each.replace('"', '""') + '"' for each in words)


def ticked(words: Words) -> str:
    """Return a name in the SQL of Spark, as it stands between the quotes of a text of Python.

    Each level of a namespace is a word.
    """
    name = ".".join("`" + each.replace("`", "``") + "`" for each in levels_of(words))
    return as_json((name,))[1:-1]


def as_option_of_dbt(words: Words) -> str:
    """Return a text as YAML, for an option of `attach`.

    A text with quotes at both ends is taken by dbt as the literal of SQL that it is; without them a
    name with such quotes would be taken so.
    """
    return as_json((told_to_jinja(as_text_of_sql(words)),))


def quoted_for_dbt(words: Words) -> str:
    """Return a name in the SQL of a model of dbt."""
    return told_to_jinja(quoted(words))


def told_to_jinja(text: str) -> str:
    """Return what Jinja makes `text` of: dbt runs what stands between braces."""
    return text.replace("{", "{{ '{' }}")


def levels_of(words: Words) -> list[str]:
    namespace, *rest = words
    return [*namespace.split("."), *rest]


FORMS: Mapping[str | None, Callable[[Words], str]] = {
    None: plain,
    "sql": as_text_of_sql,
    "json": as_json,
    "path": as_path,
    "quoted": quoted,
    "ticked": ticked,
    "dbt": as_option_of_dbt,
    "dbt_quoted": quoted_for_dbt,
}
