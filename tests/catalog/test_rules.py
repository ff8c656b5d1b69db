"""Which snapshots may go: never one that a tag, a branch or its age keeps."""

import pytest

from lakehouse.catalog.metadata import Json
from lakehouse.catalog.rules import (
    DAY_MS,
    InvalidPropertyError,
    Rules,
    ancestors,
    expirable,
    outdated_references,
    rules_of,
)
from lakehouse.config import MaintenanceConfig

NOW_MS = 1_000 * DAY_MS
BRANCH = {"type": "branch"}
TAG = {"type": "tag"}


def history(count: int, *, age_days: int = 30) -> Json:
    """Snapshots 1 to `count`, a second apart, the newest so many days old, on `main`."""
    first_ms = NOW_MS - age_days * DAY_MS - count * 1000
    return {
        "properties": {},
        "refs": {"main": {**BRANCH, "snapshot-id": count}},
        "snapshots": [
            {
                "snapshot-id": number,
                "parent-snapshot-id": number - 1,
                "timestamp-ms": first_ms + number * 1000,
            }
            for number in range(1, count + 1)
        ],
    }


def rules(metadata: Json, **settings: int) -> Rules:
    return rules_of(metadata, MaintenanceConfig(**settings))  # type: ignore[arg-type]


def kept(metadata: Json, **settings: int) -> list[int]:
    gone = set(expirable(metadata, rules(metadata, **settings), NOW_MS))
    return [
        each["snapshot-id"] for each in metadata["snapshots"] if each["snapshot-id"] not in gone
    ]


def test_old_snapshots_go_down_to_the_number_that_is_kept() -> None:
    assert kept(history(30)) == list(range(11, 31))
    assert kept(history(5)) == [1, 2, 3, 4, 5]


def test_young_snapshots_stay_however_many_up_to_the_bound() -> None:
    assert len(kept(history(300, age_days=0))) == 300
    assert kept(history(30, age_days=0), snapshots_min=2, snapshots_max=10) == list(range(21, 31))


def test_a_tag_keeps_its_snapshot_and_a_branch_those_before_it() -> None:
    metadata = history(40)
    metadata["refs"]["v1"] = {**TAG, "snapshot-id": 3}
    metadata["refs"]["audit"] = {**BRANCH, "snapshot-id": 12, "min-snapshots-to-keep": 2}
    assert kept(metadata) == [3, 11, 12, *range(21, 41)]


def test_the_bound_never_takes_what_a_reference_needs() -> None:
    metadata = history(40, age_days=0)
    metadata["refs"]["v1"] = {**TAG, "snapshot-id": 1}
    assert kept(metadata, snapshots_min=3, snapshots_max=5) == [1, *range(36, 41)]


def test_what_was_rolled_back_stays_while_it_is_young() -> None:
    young, old = history(30, age_days=0), history(30)
    for metadata in (young, old):
        metadata["refs"]["main"]["snapshot-id"] = 28
    assert {29, 30} <= set(kept(young))
    assert kept(old) == list(range(9, 29))


def test_properties_of_a_table_go_before_the_settings() -> None:
    metadata = history(10, age_days=0)
    metadata["properties"] = {
        "history.expire.max-snapshot-age-ms": "0",
        "history.expire.min-snapshots-to-keep": "3",
    }
    assert kept(metadata) == [8, 9, 10]


def test_a_branch_has_its_own_age() -> None:
    metadata = history(10)
    metadata["refs"]["main"]["max-snapshot-age-ms"] = 60 * DAY_MS
    assert kept(metadata, snapshots_min=1) == list(range(1, 11))


def test_a_reference_ends_with_the_age_it_was_given_and_main_never() -> None:
    metadata = history(10)
    metadata["refs"] |= {
        "short": {**TAG, "snapshot-id": 4, "max-ref-age-ms": DAY_MS},
        "long": {**TAG, "snapshot-id": 4, "max-ref-age-ms": 90 * DAY_MS},
        "none": {**TAG, "snapshot-id": 4},
    }
    metadata["refs"]["main"]["max-ref-age-ms"] = 1
    assert outdated_references(metadata, rules(metadata), NOW_MS) == {"short": 4}
    metadata["properties"]["history.expire.max-ref-age-ms"] = "1"
    assert outdated_references(metadata, rules(metadata), NOW_MS) == {"short": 4, "none": 4}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("history.expire.min-snapshots-to-keep", "0"),
        ("history.expire.max-snapshot-age-ms", "-1"),
        ("write.target-file-size-bytes", "128MB"),
        ("commit.manifest.min-count-to-merge", "1"),
        ("gc.enabled", "yes"),
    ],
)
def test_a_property_that_means_nothing_is_named(name: str, value: str) -> None:
    metadata = history(1)
    metadata["properties"] = {name: value}
    with pytest.raises(InvalidPropertyError, match=name):
        rules(metadata)


def test_a_past_that_goes_in_a_ring_ends_where_it_began() -> None:
    pairs = ((1, 3), (2, 1), (3, 2))
    ring = {one: {"snapshot-id": one, "parent-snapshot-id": before} for one, before in pairs}
    assert [each["snapshot-id"] for each in ancestors(ring, 3)] == [3, 2, 1]
