"""Regular expressions whose search takes too long in one call.

RE2 is linear in the text, but it may walk its whole program at every byte, and counted repeats
make long programs of short patterns: `(x{0,1000}y)?` ten times takes 156 s for 1 MB. A call that
looks for every match starts anew behind each, and may read on to the end of the text before it
knows where one ended: `x*y|x` takes 9 s for 60 kB, and four times that for twice as much. Neither
looks at an interrupt; measured on 1.5.5. Memory is no danger: RE2 refuses a program over 8 MB.
"""

import re

PROGRAM_MAX = 4_000
"""Instructions of a pattern, about: a column of patterns compiles 2,048 of them in 6 s."""
STEPS_MAX = 100_000_000
"""Bytes of a text times instructions: at worst 2 s; mostly RE2 looks at a byte once."""
RESTARTS_MAX = 1_000_000_000
"""The same where the text may be read anew for each match, so its bytes count squared."""
CLASS = 600
"""Instructions that a Unicode class, `\\pL`, takes as long to compile as: 0.5 ms."""
FREE = 32
"""Bytes of a constant pattern that runs as it is, when it repeats nothing by count."""

FIRST_MATCH = frozenset(["regexp_extract", "regexp_full_match", "regexp_matches"])
EVERY_MATCH = frozenset(
    [
        *("regexp_extract_all", "regexp_replace", "regexp_split_to_array"),
        *("str_split_regex", "string_split_regex"),
    ]
)
# A match may have ended long before RE2 knows it: some of it is optional, and without an end.
OPTIONAL, ENDLESS = r"\||\)[*+?{]", r"[*+]|,\}"
NESTED = r"\)\{"
COUNTED = r"(?<!\\[pP])\{"
COUNTS = r"\{(?:[0-9]*,)?([1-9][0-9]{0,3})"

REPEATS = f"CAST(regexp_extract_all(b, '{COUNTS}', 1) AS DOUBLE[])"
"""SQL for the counts in a pattern; those of a group multiply what is in it, to 1,000 at most."""
PROGRAM = (
    f"(strlen(b) + {CLASS} * (strlen(b) - strlen(replace(replace(b, '\\p', ' '), '\\P', ' '))))"
    f" * CASE WHEN NOT contains(b, '{{') THEN 1.0 WHEN regexp_matches(b, '{NESTED}')"
    f" THEN least(1000, list_product({REPEATS})) ELSE greatest(1, list_max({REPEATS})) END"
)
"""SQL for how many instructions a pattern has, about."""
TEXT = "CAST(strlen(CAST(a AS VARCHAR)) AS DOUBLE)"
FIRST_IS_LONG = f"{PROGRAM} > least({PROGRAM_MAX}, {STEPS_MAX} / greatest({TEXT}, 1))"
EVERY_IS_LONG = (
    f"{FIRST_IS_LONG} OR CASE WHEN regexp_matches(b, '{OPTIONAL}')"
    f" AND regexp_matches(b, '{ENDLESS}') THEN {TEXT} * {TEXT} * {PROGRAM} > {RESTARTS_MAX}"
    " ELSE false END"
)


def is_short(name: str, pattern: str) -> bool:
    """Whether a call with this constant pattern runs as it is, whatever the text."""
    if len(pattern.encode()) > FREE or re.search(COUNTED, pattern):
        return False
    restarts = re.search(OPTIONAL, pattern) and re.search(ENDLESS, pattern)
    return name in FIRST_MATCH or not restarts
