"""The text of metadata is that of the whole, whatever of it was written before."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.catalog.metadata import Json
from lakehouse.catalog.metadata_text import WRITTEN_MAX_BYTES, MetadataTexts


def snapshot(number: int) -> Json:
    return {"snapshot-id": number, "summary": {"operation": "append", "total": str(number)}}


def table(snapshots: list[Json], uuid: str = "a") -> Json:
    return {"table-uuid": uuid, "snapshots": snapshots, "refs": {"main": len(snapshots)}}


changes = st.sampled_from(
    ["add", "add two", "drop first", "drop last", "replace", "again", "clear"]
)


@given(st.lists(st.tuples(changes, st.sampled_from("ab")), max_size=30))
def test_the_text_is_that_of_all_of_the_metadata(steps: list[tuple[str, str]]) -> None:
    texts = MetadataTexts()
    states: dict[str, list[Json]] = {"a": [], "b": []}
    for number, (change, uuid) in enumerate(steps):
        before = states[uuid]
        after = {
            "add": [*before, snapshot(number)],
            "add two": [*before, snapshot(number), snapshot(-number)],
            "drop first": before[1:],
            "drop last": before[:-1],
            "replace": [*before[:-1], snapshot(number)],
            "again": [dict(each) for each in before],
            "clear": [],
        }[change]
        states[uuid] = after
        metadata = table(after, uuid)
        text = texts.of(metadata)
        assert text == orjson.dumps(metadata)


def test_a_snapshot_that_was_written_before_is_not_made_anew() -> None:
    texts, first = MetadataTexts(), snapshot(1)
    texts.of(table([first]))
    first["summary"] = "nobody changes a snapshot: its text is seen not to be made again by this"
    again = orjson.loads(texts.of(table([first, snapshot(2)])))
    assert again["snapshots"] == [snapshot(1), snapshot(2)]


def test_a_state_that_was_lost_is_in_no_later_text() -> None:
    texts, first = MetadataTexts(), snapshot(1)
    texts.of(table([first, snapshot(2)]))
    kept = table([first, snapshot(3)])
    assert texts.of(kept) == orjson.dumps(kept)


def test_a_number_of_more_than_64_bits_is_refused_and_nothing_of_it_stays() -> None:
    texts, first = MetadataTexts(), snapshot(1)
    texts.of(table([first]))
    with pytest.raises(TypeError):
        texts.of(table([first, {"snapshot-id": 2**70}]))
    kept = table([first, snapshot(2)])
    assert texts.of(kept) == orjson.dumps(kept)


def test_what_is_kept_of_many_tables_has_an_end() -> None:
    texts = MetadataTexts()
    long = [{"snapshot-id": 1, "summary": {"text": "x" * 1024 * 1024}}]
    for number in range(40):
        texts.of(table(long, str(number)))
    kept = list(texts._written._values.values())
    assert sum(weight for weight, _ in kept) <= WRITTEN_MAX_BYTES
    assert len(kept) > 1
