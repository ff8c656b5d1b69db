"""Patterns and needles whose search takes too long in one call, and the ways to bound it.

The engine tries the rest of a pattern anew at every place of each wildcard, so three of them cost
the cube of the text; of LIKE only a constant pattern without `_` is spared. A needle is compared
at every place. Neither looks at an interrupt: measured on 1.5.5, `ILIKE '%a%a%b'` on 8 kB of `a`
takes minutes, `contains` of 1 MB and half of it 6 s. RE2 takes 20 ms for the same pattern on 1 MB.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.query.regexes import EVERY_MATCH, FIRST_MATCH, is_short

STEPS_MAX = 10_000_000
"""Places that a pattern may be tried at, times its length: 0.1 s."""
STATES_MAX = 25_000_000
"""Characters of a text times `_` of a pattern: each of them is a state that RE2 holds, 0.1 us."""
BYTES_MAX = 1_000_000_000
"""Bytes of a text times bytes of what is looked for: 0.2 s."""
PATTERN_FREE = 32
"""Bytes of a constant pattern that runs as it is, with one wildcard before its end."""
NEEDLE_FREE = 100
"""Bytes of a constant needle that runs as it is."""


def steps(wildcard: str) -> str:
    """SQL for how often the engine may try; a wildcard at the end ends the search."""
    wildcards = f"(strlen(rtrim(b, '{wildcard}')) - strlen(replace(b, '{wildcard}', '')))"
    return f"pow(strlen(a), {wildcards}) * greatest(strlen(b), 1)"


def find_is_long(text: str, needle: str) -> str:
    """SQL for whether the search takes too long; what is no text (a list) is short enough."""
    size = f"strlen(CAST({needle} AS VARCHAR))"
    product = f"CAST(strlen(CAST({text} AS VARCHAR)) AS HUGEINT) * {size} > {BYTES_MAX}"
    return f"CASE WHEN {size} > {NEEDLE_FREE} THEN {product} ELSE false END"


def as_regex(pattern: str) -> str:
    """SQL for the regular expression of a LIKE pattern that has no escape character."""
    return f"replace(replace(regexp_escape({pattern}), '\\%', '.*'), '_', '.')"


LIKE_IS_LONG = (
    f"CAST(strlen(a) AS HUGEINT) * (strlen(b) - strlen(replace(b, '_', ''))) > {STATES_MAX}"
    f" OR CAST(strlen(a) AS HUGEINT) * strlen(b) > {BYTES_MAX}"
)
LIKE = f"regexp_full_match(a, {as_regex('b')}, 's')"
ILIKE = f"regexp_full_match(lower(a), {as_regex('lower(b)')}, 's')"


@dataclass(frozen=True, slots=True)
class Pattern:
    """The bounds of an operator, as SQL over its text a and its pattern b."""

    too_large: str
    instead: str = ""
    """A branch of a CASE, for what would take the engine long and RE2 does not mind."""


def in_re2(match: str) -> Pattern:
    return Pattern(LIKE_IS_LONG, f" WHEN {steps('%')} > {STEPS_MAX} THEN {match}")


PATTERNS: Mapping[str, Pattern] = {
    "~~": in_re2(LIKE),
    "!~~": in_re2(f"NOT {LIKE}"),
    "~~*": in_re2(ILIKE),
    "!~~*": in_re2(f"NOT {ILIKE}"),
    "~~~": Pattern(f"{steps('*')} > {STEPS_MAX}"),
    "like_escape": Pattern(f"{steps('%')} > {STEPS_MAX}"),
    "not_like_escape": Pattern(f"{steps('%')} > {STEPS_MAX}"),
    "ilike_escape": Pattern(f"{steps('%')} > {STEPS_MAX}"),
    "not_ilike_escape": Pattern(f"{steps('%')} > {STEPS_MAX}"),
}
NEEDLES = frozenset(
    (
        *("contains", "instr", "strpos", "position", "split_part"),
        *("split", "str_split", "string_split", "string_to_array"),
    )
)
"""Functions that look for their second argument in the first."""


def is_harmless(name: str, second: dict[str, Any]) -> bool:
    """Whether a call with this second argument, a node, runs as it is, whatever the text."""
    if second.get("class") != "CONSTANT":
        return False
    value = second["value"].get("value")
    if second["value"]["is_null"] or not isinstance(value, str):
        return True
    if name in FIRST_MATCH | EVERY_MATCH:
        return is_short(name, value)
    size = len(value.encode())
    if name not in PATTERNS:
        return size <= NEEDLE_FREE
    wildcard = "*" if name == "~~~" else "%"
    if name in ("~~", "!~~") and "_" not in value:
        return size <= NEEDLE_FREE
    return size <= PATTERN_FREE and value.rstrip(wildcard).count(wildcard) <= 1
