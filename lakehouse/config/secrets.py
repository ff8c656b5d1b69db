"""Secrets that an operator hands to the process: read once, then taken out of its environment."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from lakehouse.config.config import CatalogConfig
from lakehouse.config.errors import WrongSettingsError

TOKEN_VARIABLE = "LAKEHOUSE_TOKEN"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
TOKEN_CREDENTIAL = "token"
PASSWORD_CREDENTIAL = "catalog-password"


def take_tokens(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Return the admin's tokens from the environment and from systemd, and forget the first.

    What is in the environment of a process is inherited by all that it starts.
    Source: https://systemd.io/CREDENTIALS/ (`LoadCredential=token:/etc/lakehouse/token`)
    """
    found = [environ.pop(TOKEN_VARIABLE, "")]
    found.append(credential(TOKEN_CREDENTIAL, environ))
    return [text.strip() for text in found if text.strip()]


def catalog_password(config: CatalogConfig, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the password of `catalog.uri`; None without one. Read anew by each who asks.

    Raises:
        WrongSettingsError: the file that is configured cannot be read.
    """
    if config.password_file is None:
        text = credential(PASSWORD_CREDENTIAL, environ)
    else:
        try:
            text = config.password_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise WrongSettingsError(
                [f"catalog.password_file {config.password_file} cannot be read: {why.lower()}"]
            ) from error
    return text.strip() or None


def credential(name: str, environ: Mapping[str, str]) -> str:
    """Return what systemd hands over under `name`; empty without it."""
    folder = environ.get(CREDENTIALS)
    file = Path(folder) / name if folder else None
    return file.read_text(encoding="utf-8") if file and file.exists() else ""
