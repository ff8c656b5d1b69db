"""Secrets that an operator hands to the process: read once, then taken out of its environment."""

import os
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.config.config import CatalogConfig
from lakehouse.config.errors import WrongSettingsError

TOKEN_VARIABLE = "LAKEHOUSE_TOKEN"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
TOKEN_CREDENTIAL = "token"
PASSWORD_CREDENTIAL = "catalog-password"
S3_CREDENTIAL = "s3"
ENV_START = 47
"""Its place in `/proc/PID/stat`, behind the name of the program; `env_end` is the next."""


@dataclass(frozen=True, slots=True)
class S3Keys:
    """Keys to an object store. Not shown: whoever logs one logs a name without them."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def take_tokens(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Return the admin's tokens from the environment and from systemd, and forget the first.

    What is in the environment of a process is inherited by all that it starts, and shown by the
    kernel to all that its user starts.
    Source: https://systemd.io/CREDENTIALS/ (`LoadCredential=token:/etc/lakehouse/token`)
    """
    found = [taken(TOKEN_VARIABLE, environ)]
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


def take_s3_keys(environ: MutableMapping[str, str] = os.environ) -> S3Keys | None:
    """Return the keys that are in the environment, and forget them there."""
    access_key = taken("AWS_ACCESS_KEY_ID", environ)
    secret_key = taken("AWS_SECRET_ACCESS_KEY", environ)
    session_token = taken("AWS_SESSION_TOKEN", environ)
    return S3Keys(access_key, secret_key, session_token) if access_key and secret_key else None


def taken(name: str, environ: MutableMapping[str, str]) -> str:
    """Return a variable, empty without it, and forget it: no child has it, no file shows it."""
    value = environ.pop(name, "")
    if value and environ is os.environ:
        blot_out(name, value)
    return value


def blot_out(name: str, value: str) -> None:
    """Overwrite a variable where `/proc/PID/environ` shows it, removed or not.

    The kernel shows the memory in which it handed the variables over. Elsewhere than on Linux, and
    where a process may not write that way, it stays: only what has this user's rights reads it.
    Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html (`env_start`)
    """
    told = os.fsencode(f"{name}={value}")
    with suppress(OSError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[ENV_START]), int(fields[ENV_START + 1])
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            if (at := memory.read(end - start).find(told)) >= 0:
                memory.seek(start + at + len(name) + 1)
                memory.write(b"*" * (len(told) - len(name) - 1))


def s3_credential(environ: MutableMapping[str, str] = os.environ) -> Path | None:
    """Return the file of keys that systemd hands over: `LoadCredential=s3:/etc/lakehouse/s3`."""
    file = Path(environ.get(CREDENTIALS, "")) / S3_CREDENTIAL
    return file if environ.get(CREDENTIALS) and file.exists() else None
