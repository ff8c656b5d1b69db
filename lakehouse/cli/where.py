"""Which lakehouse a command means: a running server, or a data directory of its own."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from click.core import ParameterSource

from lakehouse.cli.settings import settings
from lakehouse.client import Client
from lakehouse.config import TOKEN_VARIABLE, Config, data_directory
from lakehouse.errors import NotFoundError
from lakehouse.local_socket import is_answered, operator_path

T = TypeVar("T")

COMMAND_LINE = ParameterSource.COMMANDLINE


class NoDataDirectoryError(NotFoundError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no data directory {path}", path=str(path))


class NothingToRecoverError(NoDataDirectoryError):
    """Of a command that mends what is there: none is made."""


def connected(
    work: Callable[[Client], T],
    url: str | None,
    data_dir: Path | None,
    config_file: Path | None,
    *,
    make: bool = False,
) -> T:
    """Return `work(client)`, with a client of the server at `url`, or of our own on `data_dir`.

    Args:
        work: what the command does.
        url: None for the address in the configuration; the socket of its data directory goes
            before that, where we may open it and have no token.
        data_dir: asked through the server that holds it, else taken for the duration, with its
            lock; None for a running server.
        config_file: None for defaults and environment.
        make: whether a data directory that is not there is made.

    Raises:
        NoDataDirectoryError: there is none.
        UnavailableError: nobody answers at `url`, or another process holds the directory.
    """
    if data_dir is not None:
        # A --data goes before $LAKEHOUSE_URL; two options contradict each other.
        if click.get_current_context().get_parameter_source("url") is COMMAND_LINE:
            raise click.UsageError("give --url or --data, not both")
        if is_answered(local := operator_path(data_dir)):
            with Client(f"unix:{local}") as lake:
                return work(lake)
        return on_directory(work, settings(config_file), data_dir, make=make)
    with Client(url or address_of(settings(config_file))) as lake:
        return work(lake)


def address_of(config: Config) -> str:
    """Return where the server of this configuration is asked: as its owner, if that is us."""
    local = operator_path(data_directory(config))
    if TOKEN_VARIABLE not in os.environ and is_answered(local):
        return f"unix:{local}"
    return url_of(config)


def on_directory(work: Callable[[Client], T], config: Config, path: Path, *, make: bool) -> T:
    # With a format alone it is one, whose catalog is gone or not yet there: opening it says so.
    if not make and not any((path / name).exists() for name in ("catalog.db", "format")):
        raise NoDataDirectoryError(path)
    # Opening what is needed for it takes 1 s, which commands against a server do without.
    from lakehouse.cli.local import LOOPBACK, beside_server, free_port

    secret = secrets.token_hex()

    def with_client(url: str) -> T:
        with Client(url, token=secret) as lake:
            return work(lake)

    server = msgspec.structs.replace(
        config.server, host=LOOPBACK, port=free_port(), shutdown_grace_s=0
    )
    config = msgspec.structs.replace(config, server=server)
    return beside_server(config, path, with_client, secrets=[secret])


def url_of(config: Config) -> str:
    host, port = config.server.host, config.server.port
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
