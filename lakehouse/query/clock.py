"""The time of a statement: one moment, taken when it is prepared, written into what runs.

The engine's own `now()` is that of a transaction, which begins after the files were chosen: files
chosen by another clock would lose rows at midnight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import orjson

from lakehouse.catalog import Pinned, folded
from lakehouse.trees import Tree, nodes_of

DAY, MOMENT = "day", "moment"
ZONED = "TIMESTAMP WITH TIME ZONE"
# What each is a value of, and its type. The engine's time zone is UTC.
CALLS = {
    "now": (MOMENT, ZONED),
    "get_current_timestamp": (MOMENT, ZONED),
    "transaction_timestamp": (MOMENT, ZONED),
    "current_localtimestamp": (MOMENT, "TIMESTAMP"),
    "today": (DAY, "DATE"),
}
NAMES = {
    "current_timestamp": (MOMENT, ZONED),
    "localtimestamp": (MOMENT, "TIMESTAMP"),
    "current_date": (DAY, "DATE"),
}
# These read the engine's clock in ways of their own: with one of them a statement keeps that.
OTHERS = frozenset(["age", "ago", "current_localtime", "get_current_time", "current_date"])
OTHER_NAMES = frozenset(["current_time", "localtime"])


def time_place(token: str, kind: str) -> str:
    """Return how a text, and a parameter while files are chosen, names the time."""
    return f"{token}_{kind}_"


@dataclass(frozen=True)
class Moment:
    at: datetime

    @classmethod
    def now(cls) -> "Moment":
        return cls(datetime.now(UTC))

    @cached_property
    def texts(self) -> dict[str, str]:
        """What is cast to a date or a time, by its kind."""
        return {DAY: f"{self.at:%Y-%m-%d}", MOMENT: f"{self.at:%Y-%m-%d %H:%M:%S.%f}+00"}

    def named(self, token: str) -> dict[str, str]:
        """Return the same texts by `time_place`."""
        return {time_place(token, kind): text for kind, text in self.texts.items()}


@dataclass(slots=True)
class Times:
    """The nodes of a statement that are its time."""

    nodes: list[Tree] = field(default_factory=list)
    names: frozenset[str] = frozenset()
    """Those that would be columns if a table had them, folded: see `has_column`."""
    parameters: list[Tree] = field(default_factory=list)

    @classmethod
    def of(cls, tree: Tree) -> "Times":
        """Return those of a statement; none when the time is also told in other ways.

        A name is the time only where no column has it: nothing else in the statement may hold
        the name, therefore, nor may there be a lambda, whose parameters have names.
        """
        calls, named = [], []
        for node in nodes_of(tree):
            if node.get("class") == "FUNCTION":
                name = node["function_name"].lower()
                if name in OTHERS:
                    return cls()
                if name in CALLS and not node["children"]:
                    calls.append(node)
            elif node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
                name = folded(node["column_names"][0])
                if name in OTHER_NAMES:
                    return cls()
                if name in NAMES:
                    named.append(node)
        text = orjson.dumps(tree).lower() if named else b""
        names = [folded(each["column_names"][0]) for each in named]
        if b'"class":"lambda"' in text:
            return cls()
        if any(text.count(name.encode()) > names.count(name) for name in names):
            return cls()
        return cls([*calls, *named], frozenset(names))

    def become_parameters(self, token: str) -> None:
        """Make each node the cast of a parameter: files are chosen by its value."""
        for node in self.nodes:
            kind, type_ = kind_and_type(node)
            parameter = {"class": "PARAMETER", "type": "VALUE_PARAMETER", "alias": ""}
            parameter["identifier"] = time_place(token, kind)
            alias, cast_type = node["alias"], {"id": type_, "type_info": None}
            node.clear()
            node.update({"class": "CAST", "type": "OPERATOR_CAST", "alias": alias})
            node.update({"child": parameter, "cast_type": cast_type, "try_cast": False})
            self.parameters.append(parameter)

    def become_texts(self, texts: Mapping[str, str]) -> None:
        """Make each parameter a text, by its name; without one it stays the place of one."""
        for node in self.parameters:
            type_ = {"id": "VARCHAR", "type_info": None}
            value = {"type": type_, "is_null": False, "value": ""}
            value["value"] = texts.get(node["identifier"], node["identifier"])
            node.clear()
            node.update({"class": "CONSTANT", "type": "VALUE_CONSTANT"})
            node.update({"alias": "", "value": value})


def kind_and_type(node: Tree) -> tuple[str, str]:
    if "function_name" in node:
        return CALLS[node["function_name"].lower()]
    return NAMES[folded(node["column_names"][0])]


def has_column(pinned: Sequence[Pinned], names: frozenset[str]) -> bool:
    """Whether a table has a column with one of these names, however deep."""
    return any(
        name in folded(f"{column.name} {column.type}")
        for name in names
        for table in pinned
        for column in table.columns
    )
