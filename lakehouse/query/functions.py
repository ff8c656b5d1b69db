"""What the gate says of each function: `functions.toml`, read once."""

import difflib
import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["value", "table", "pragma"]
Verdict: TypeAlias = Literal["allowed", "volatile", "capped", "refused"]


class Judged(NamedTuple):
    verdict: Verdict
    reason: str


UNKNOWN = "it is not among the functions that were reviewed"


@cache
def verdicts() -> dict[tuple[Kind, str], Judged]:
    """Return the verdict for each (kind, name in lower case)."""
    text = (files("lakehouse.query") / "functions.toml").read_text()
    return {
        (group["kind"], name.lower()): Judged(group["verdict"], group["reason"])
        for group in tomllib.loads(text)["group"]
        for name in group["names"].split()
    }


@cache
def aggregates() -> frozenset[str]:
    """Return the functions that make one value of many rows: aggregates and window functions."""
    begins = "aggregates and window functions"
    return frozenset(name for (_, name), each in verdicts().items() if each[1].startswith(begins))


def judge(kind: Kind, name: str) -> Judged:
    return verdicts().get((kind, name.lower())) or Judged("refused", unknown(kind, name.lower()))


def unknown(kind: Kind, name: str) -> str:
    """Return why a function that is in no list is refused, with the nearest one that is not."""
    may = [known for (of, known), each in verdicts().items() if of == kind and each[0] != "refused"]
    near = difflib.get_close_matches(name[:80], may, n=1, cutoff=0.75)
    return f"{UNKNOWN}; did you mean {near[0]}?" if near else UNKNOWN
