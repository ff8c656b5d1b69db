"""`token`: who may do what."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click

from lakehouse.cli import output
from lakehouse.cli.where import connected
from lakehouse.client import Client, Grant, Limits, Role, Token, TokenMade

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
ROLES = ("reader", "writer", "admin")


def create(
    name: str,
    role: Role,
    on: Sequence[str],
    more: Sequence[str],
    expires: str | None,
    addresses: Sequence[str],
    per_minute: int | None,
    at_once: int | None,
    per_day: int | None,
    rows_per_day: int | None,
    texts_per_day: int | None,
    as_json: bool,
    **where: Any,
) -> None:
    grants = [Grant(role, each) for each in on] + [grant_of(each) for each in more]
    expires_at = moment_of(expires) if expires else None
    limits = Limits(per_minute, at_once, per_day, rows_per_day, texts_per_day)
    made = connected(
        lambda lake: lake.tokens.create(
            name,
            grants or [Grant(role)],
            addresses=addresses,
            limits=limits,
            expires_at=expires_at,
        ),
        **where,
        make=True,
    )
    show_secret(made, as_json)


def list_tokens(as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: list(lake.tokens.list()), **where)
    if as_json:
        output.emit({"tokens": found})
        return
    if not found:
        output.stdout().print("No tokens. `lakehouse token create NAME --role admin` makes one.")
        return
    output.show(
        [("name", ""), ("may", ""), ("from", ""), ("created", ""), ("state", "")],
        [
            (each.name, said(each), ", ".join(each.addresses), each.created_at, state(each))
            for each in found
        ],
    )


def rotate(name: str, overlap: str, as_json: bool, **where: Any) -> None:
    seconds = int(duration_of(overlap).total_seconds())
    show_secret(
        connected(lambda lake: lake.tokens.rotate(name, overlap_s=seconds), **where), as_json
    )


def revoke(name: str, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> None:
        lake.tokens.revoke(name)

    connected(work, **where)
    if as_json:
        output.emit({"revoked": name})
    else:
        output.stdout().print(f"Revoked {name}.", highlight=False)


def show_secret(made: TokenMade, as_json: bool) -> None:
    """Print a secret on stdout, and what to know of it on stderr."""
    if as_json:
        output.emit(made)
        return
    notes = output.stderr()
    notes.print(f"{made.name}: {said(made)}. Its secret, this once:", highlight=False)
    output.stdout().print(made.token, style="bold green", highlight=False, soft_wrap=True)
    notes.print(
        "Send it as `Authorization: Bearer ...`; commands and the client take it from"
        " $LAKEHOUSE_TOKEN.",
        highlight=False,
    )


def said(token: Token) -> str:
    return ", ".join(
        f"{each.role} on {'everything' if each.on == '*' else each.on}" for each in token.grants
    )


def state(token: Token) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d %H:%M}"
    if token.expires_at is None:
        return "valid"
    word = "valid until" if token.expires_at > datetime.now(UTC) else "ended"
    return f"{word} {token.expires_at:%Y-%m-%d %H:%M}"


def grant_of(text: str) -> Grant:
    role, _, on = text.partition(":")
    if role not in ROLES or not on:
        raise click.UsageError(f"--grant {text!r} is not ROLE:WHAT, such as writer:sales")
    return Grant(cast(Role, role), on)


def moment_of(text: str) -> datetime:
    """Return the end that `90d`, `12h` or a date means, in UTC."""
    try:
        return datetime.now(UTC) + duration_of(text)
    except click.UsageError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"--expires {text!r} is neither a time such as 12h or 90d nor a date such as 2027-01-31"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def duration_of(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", text)
    if not found or (not found[2] and int(found[1])):
        raise click.UsageError(f"{text!r} is no time: write 30s, 10m, 12h or 90d")
    return timedelta(**{UNITS[found[2] or "s"]: int(found[1])})
