"""What other engines send: schemas, specs, sort orders, statistics, and a table made by updates."""

from collections.abc import Callable
from typing import Any

import pytest

from lakehouse.catalog.metadata import Json, empty_metadata, of_version
from lakehouse.catalog.properties import ALL_MAX, ALL_MAX_CHARACTERS, check_size
from lakehouse.catalog.updates import Changing, apply, remove_properties, set_properties
from lakehouse.errors import InvalidInputError
from tests.catalog.test_metadata import UUID, adding, fresh

LONG: Json = {"id": 1, "name": "id", "required": False, "type": "long"}
DAY: Json = {"source-id": 1, "name": "bucket", "transform": "bucket[8]"}
ASCENDING: Json = {
    "source-id": 1,
    "transform": "identity",
    "direction": "asc",
    "null-order": "nulls-first",
}


def schema_with(*fields: Json) -> Json:
    return {"action": "add-schema", "schema": {"type": "struct", "fields": [*fields]}}


def spec_of(*fields: Json) -> Json:
    return {"action": "add-spec", "spec": {"spec-id": 0, "fields": [*fields]}}


def order_of(*fields: Json) -> Json:
    return {"action": "add-sort-order", "sort-order": {"order-id": 1, "fields": [*fields]}}


SET_SCHEMA: Json = {"action": "set-current-schema", "schema-id": -1}
SET_SPEC: Json = {"action": "set-default-spec", "spec-id": -1}
SET_ORDER: Json = {"action": "set-default-sort-order", "sort-order-id": -1}


def test_a_schema_that_is_there_is_the_one_meant_and_no_second_one() -> None:
    inner: Json = {"id": 6, "name": "a", "required": False, "type": "string"}
    listed: Json = {
        "type": "list",
        "element-id": 5,
        "element": {"type": "struct", "fields": [inner]},
        "element-required": False,
    }
    nested: Json = {"id": 4, "name": "l", "required": False, "type": listed}
    wide = apply(fresh(), [schema_with(LONG, nested), SET_SCHEMA])
    assert (wide["current-schema-id"], wide["last-column-id"]) == (1, 6)
    old = wide["schemas"][0]
    back = apply(wide, [{"action": "add-schema", "schema": {**old, "schema-id": 77}}, SET_SCHEMA])
    assert (back["current-schema-id"], len(back["schemas"])) == (0, 2)
    assert back["last-column-id"] == 6


def test_a_spec_takes_new_ids_and_keeps_those_that_its_fields_had() -> None:
    first = apply(fresh(), [spec_of(DAY), SET_SPEC])
    assert (first["default-spec-id"], first["last-partition-id"]) == (1, 1000)
    other: Json = {"source-id": 1, "name": "cut", "transform": "truncate[4]"}
    second = apply(first, [spec_of(other, {**DAY, "name": "again"}), SET_SPEC])
    assert [each["field-id"] for each in second["partition-specs"][-1]["fields"]] == [1001, 1000]
    assert (second["default-spec-id"], second["last-partition-id"]) == (2, 1001)
    same = apply(second, [spec_of(DAY), SET_SPEC])
    assert (same["default-spec-id"], len(same["partition-specs"])) == (1, 3)
    none = apply(same, [spec_of(), SET_SPEC])
    assert none["default-spec-id"] == 0


def test_a_sort_order_is_added_once_and_none_is_number_zero() -> None:
    sorted_ = apply(fresh(), [order_of(ASCENDING), SET_ORDER])
    assert sorted_["default-sort-order-id"] == 1
    same = apply(sorted_, [order_of(ASCENDING), SET_ORDER])
    assert len(same["sort-orders"]) == 2
    assert apply(same, [order_of(), SET_ORDER])["default-sort-order-id"] == 0


def test_statistics_of_a_snapshot_are_replaced_and_removed() -> None:
    table = apply(fresh(), adding(7))
    for key in ("statistics", "partition-statistics"):
        first: Json = {"snapshot-id": 7, "statistics-path": "file:///t/a.puffin", "more": 1}
        put = apply(table, [{"action": f"set-{key}", key: first}])
        again = apply(put, [{"action": f"set-{key}", key: {**first, "more": 2}}])
        assert again[key] == [{**first, "more": 2}]
        assert apply(again, [{"action": f"remove-{key}", "snapshot-id": 7}])[key] == []
        assert apply(again, [{"action": "remove-snapshots", "snapshot-ids": [7]}])[key] == []


def test_schemas_and_specs_that_nothing_uses_are_removed() -> None:
    table = apply(fresh(), [schema_with(LONG), SET_SCHEMA, spec_of(DAY), SET_SPEC])
    less = apply(
        table,
        [
            {"action": "remove-schemas", "schema-ids": [0]},
            {"action": "remove-partition-specs", "spec-ids": [0]},
        ],
    )
    assert [each["schema-id"] for each in less["schemas"]] == [1]
    assert [each["spec-id"] for each in less["partition-specs"]] == [1]


def test_the_fields_of_format_version_1_say_the_schema_and_the_spec_that_hold() -> None:
    table = of_version(fresh(), 1)
    assert table["partition-spec"] == []
    changed = apply(table, [schema_with(LONG), SET_SCHEMA, spec_of(DAY), SET_SPEC])
    assert (changed["current-schema-id"], changed["default-spec-id"]) == (1, 1)
    assert changed["schema"] == {"type": "struct", "fields": [LONG], "schema-id": 1}
    assert changed["partition-spec"] == [{**DAY, "field-id": 1000}]
    back: list[Json] = [
        {"action": "set-current-schema", "schema-id": 0},
        {"action": "set-default-spec", "spec-id": 0},
    ]
    assert apply(changed, back)["schema"] == fresh()["schemas"][0]
    assert apply(changed, back)["partition-spec"] == []
    assert "schema" not in apply(fresh(), [schema_with(LONG), SET_SCHEMA])


class Looked(dict[str, Any]):
    """What counts how often it is looked at."""

    looks = 0

    def __getitem__(self, key: str) -> Any:
        Looked.looks += 1
        return super().__getitem__(key)

    def items(self) -> Any:
        Looked.looks += 1
        return super().items()


MANY = 200


def specs(first: int) -> list[Json]:
    return [spec_of({**DAY, "transform": f"bucket[{first + n}]"}) for n in range(MANY)]


def orders(first: int) -> list[Json]:
    return [order_of({**ASCENDING, "transform": f"bucket[{first + n}]"}) for n in range(MANY)]


def schemas(first: int) -> list[Json]:
    return [schema_with({**LONG, "name": f"n{first + n}"}) for n in range(MANY)]


def snapshots(first: int) -> list[Json]:
    made = adding(7)[0]
    return [
        {**made, "snapshot": {**made["snapshot"], "snapshot-id": n, "sequence-number": n}}
        for n in range(first, first + MANY)
    ]


def tags(first: int) -> list[Json]:
    tag: Json = {"action": "set-snapshot-ref", "type": "tag"}
    return [{**tag, "ref-name": f"t{n}", "snapshot-id": 1 + n % MANY} for n in range(MANY)]


def statistics(first: int) -> list[Json]:
    return [
        {"action": "set-statistics", "statistics": {"snapshot-id": n, "statistics-path": "x"}}
        for n in range(first, first + MANY)
    ]


@pytest.mark.parametrize(
    ("there", "begun", "more"),
    [
        ("partition-specs", specs, specs),
        ("sort-orders", orders, orders),
        ("schemas", schemas, schemas),
        ("snapshots", snapshots, snapshots),
        ("snapshots", snapshots, tags),
        (
            "snapshots",
            snapshots,
            lambda _: [{"action": "remove-snapshots", "snapshot-ids": [n]} for n in range(MANY)],
        ),
        (
            "partition-specs",
            specs,
            lambda _: [{"action": "set-default-spec", "spec-id": n} for n in range(MANY)],
        ),
        ("statistics", statistics, statistics),
    ],
)
def test_many_updates_look_at_what_is_there_a_few_times_not_once_each(
    there: str, begun: Callable[[int], list[Json]], more: Callable[[int], list[Json]]
) -> None:
    table = apply(fresh(), begun(1))
    table[there] = [Looked(each) for each in table[there]]
    Looked.looks = 0
    apply(table, more(MANY + 1))
    assert MANY <= Looked.looks <= 10 * MANY  # and MANY * MANY / 2, if each update looked at all


def test_properties_are_copied_once_and_those_given_stay() -> None:
    table = {**fresh(), "properties": {"a": "1", "b": "2"}}
    changing = Changing(table)
    copied = changing.part("properties")
    set_properties(changing, {"updates": {"c": "3"}})
    remove_properties(changing, {"removals": ["a", "never there"]})
    assert changing.part("properties") is copied
    assert changing.done()["properties"] is copied
    assert (copied, table["properties"]) == ({"b": "2", "c": "3"}, {"a": "1", "b": "2"})


@pytest.mark.parametrize(
    "large",
    [{str(n): "" for n in range(ALL_MAX + 2)}, {"x": "y" * ALL_MAX_CHARACTERS, "z": ""}],
)
def test_a_table_of_too_many_properties_may_lose_some_and_gets_no_more(
    large: dict[str, str],
) -> None:
    fewer = dict(list(large.items())[:-1])
    check_size(large, large)
    check_size(large, fewer)
    with pytest.raises(InvalidInputError, match="are the most"):
        check_size(fewer, large)


def test_ids_of_columns_that_went_are_not_there_to_partition_by() -> None:
    wide = apply(fresh(), [schema_with(LONG, {**LONG, "id": 50, "name": "x"}), schema_with(LONG)])
    updates = [
        {"action": "remove-schemas", "schema-ids": [1]},
        spec_of({**DAY, "source-id": 50}),
    ]
    assert apply(wide, updates[1:])["partition-specs"][-1]["fields"][0]["source-id"] == 50
    last = max(each["schema-id"] for each in wide["schemas"])
    with pytest.raises(InvalidInputError, match="no column of id 50"):
        apply(
            {**wide, "schemas": [*wide["schemas"], {**wide["schemas"][0], "schema-id": last + 1}]},
            updates,
        )


@pytest.mark.parametrize(("what", "word"), [("schemas", "schema"), ("partition-specs", "spec")])
def test_of_a_table_that_has_none_yet_there_is_none_to_remove(what: str, word: str) -> None:
    removed: Json = {"action": f"remove-{what}", f"{word}-ids": [0]}
    assert apply(empty_metadata(1), [removed]) == empty_metadata(1)


@pytest.mark.parametrize(
    ("update", "words"),
    [
        (SET_SCHEMA, "none was"),
        (SET_SPEC, "none was"),
        (SET_ORDER, "none was"),
        ({"action": "set-current-schema", "schema-id": 9}, "no schema 9"),
        ({"action": "set-default-spec", "spec-id": 9}, "no partition spec 9"),
        ({"action": "set-default-sort-order", "sort-order-id": 9}, "no sort order 9"),
        ({"action": "remove-schemas", "schema-ids": [0]}, "schema that holds"),
        ({"action": "remove-partition-specs", "spec-ids": [0]}, "partition spec that holds"),
        ({"action": "assign-uuid", "uuid": "other"}, "keeps its UUID"),
        ({"action": "set-location", "location": "file:///u"}, "stays where it lies"),
        ({"action": "upgrade-format-version", "format-version": 4}, "version 1 to 3"),
        (spec_of({**DAY, "source-id": 99}), "no column of id 99"),
        (
            {
                "action": "add-snapshot",
                "snapshot": {**adding(7)[0]["snapshot"], "sequence-number": 8},
            },
            "a snapshot 7 already",
        ),
    ],
)
def test_an_update_that_cannot_be_is_refused(update: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        apply(apply(fresh(), adding(7)), [update])


def test_what_says_nothing_new_changes_nothing() -> None:
    same: list[Json] = [
        {"action": "assign-uuid", "uuid": UUID},
        {"action": "set-location", "location": "file:///t/"},
        {"action": "upgrade-format-version", "format-version": 2},
    ]
    assert apply(fresh(), same) == fresh()
