"""What the gate says of each function: `functions.toml`, read once."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["value", "table", "pragma"]
Verdict: TypeAlias = Literal["allowed", "volatile", "capped", "refused"]


class Judged(NamedTuple):
    verdict: Verdict
    reason: str


UNKNOWN = Judged("refused", "it is not among the functions that were reviewed")


@cache
def verdicts() -> dict[tuple[Kind, str], Judged]:
    """Return the verdict for each (kind, name in lower case)."""
    text = (files("lakehouse.query") / "functions.toml").read_text()
    return {
        (group["kind"], name.lower()): Judged(group["verdict"], group["reason"])
        for group in tomllib.loads(text)["group"]
        for name in group["names"].split()
    }


def judge(kind: Kind, name: str) -> Judged:
    return verdicts().get((kind, name.lower()), UNKNOWN)
