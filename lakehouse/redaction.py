"""Tokens that somebody put where none belongs: into a path, an id, a name. They are not told on."""

import re

TOKEN_PREFIX = "lh_"
TOKEN = re.compile(r"lh_[0-9A-Za-z]{43,}")
"""As `auth` makes them, or one that was cut at its end or written on."""
REDACTED = "lh_***"


def redacted(text: str) -> str:
    """Return `text` without the tokens in it."""
    return TOKEN.sub(REDACTED, text) if TOKEN_PREFIX in text else text
