"""Secrets that an operator hands to the process: read once, then taken out of its environment."""

import os
from collections.abc import MutableMapping
from pathlib import Path

TOKEN_VARIABLE = "LAKEHOUSE_TOKEN"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
TOKEN_CREDENTIAL = "token"


def take_tokens(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Return the admin's tokens from the environment and from systemd, and forget the first.

    What is in the environment of a process is inherited by all that it starts.
    Source: https://systemd.io/CREDENTIALS/ (`LoadCredential=token:/etc/lakehouse/token`)
    """
    found = [environ.pop(TOKEN_VARIABLE, "")]
    if folder := environ.get(CREDENTIALS):
        file = Path(folder) / TOKEN_CREDENTIAL
        found.append(file.read_text(encoding="utf-8") if file.exists() else "")
    return [text.strip() for text in found if text.strip()]
