import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lakehouse.storage import InvalidKeyError
from lakehouse.storage.keys import (
    CHUNK_BYTES,
    KEY_MAX_BYTES,
    check_key,
    entries_of,
    entry_of,
    folder_name,
    path_of,
)

# Short alphabets make the collisions that random text never finds.
DENSE = st.text(alphabet="a/_.-o", min_size=1, max_size=12)
WILD = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
LONG = st.builds(
    lambda length, tail: "x" * length + tail,
    st.integers(CHUNK_BYTES - 2, 3 * CHUNK_BYTES + 2),
    st.text(alphabet="!x/0", max_size=4),
)


def allowed(key: str) -> bool:
    try:
        check_key(key)
    except InvalidKeyError:
        return False
    return True


KEYS = st.one_of(DENSE, WILD, LONG).filter(allowed)


def decoded(path: str) -> bytes:
    entries = [entry_of(name) for name in path.split("/")]
    assert all(entries)
    return b"".join(entry.part for entry in entries if entry)


@settings(max_examples=250)
@given(KEYS)
def test_a_key_comes_back_from_its_path(key: str) -> None:
    assert decoded(path_of(key)) == key.encode()


@settings(max_examples=250)
@given(KEYS)
def test_a_path_has_no_character_that_means_anything_to_anybody(key: str) -> None:
    names = path_of(key).split("/")

    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) for name in names)
    assert max(map(len, names)) <= 255


@settings(max_examples=250)
@given(KEYS, KEYS)
def test_no_object_lies_inside_another_and_order_is_kept(one: str, other: str) -> None:
    assume(one != other)
    first, second = path_of(one).split("/"), path_of(other).split("/")
    assert first[: len(second)] != second
    assert second[: len(first)] != first

    # Where the paths part, the entries sort as the keys do: what the list relies on.
    fork = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    at_fork, beside = entry_of(first[fork]), entry_of(second[fork])
    assert at_fork and beside
    assert (at_fork.part < beside.part) == (one.encode() < other.encode())


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "empty"),
        ("/a", "slash"),
        ("..", "'..'"),
        ("a/../b", "'..'"),
        ("a/..", "'..'"),
        ("a\0b", "NUL"),
        ("a\rb", "CR"),
        ("a\nb", "LF"),
        ("a\tb", "tab"),
        ("x" * (KEY_MAX_BYTES + 1), "1025 bytes"),
        ("é" * 513, "1026 bytes"),
        ("\ud800", "UTF-8"),
    ],
)
def test_a_key_outside_of_the_contract_is_refused(key: str, reason: str) -> None:
    with pytest.raises(InvalidKeyError, match=re.escape(reason)):
        check_key(key)


@pytest.mark.parametrize(
    "key", ["...", "a..b", "..a", "a//b", "./a", "a/", ".", "x" * 1024, "\x7f"]
)
def test_a_key_that_only_looks_dangerous_is_taken(key: str) -> None:
    assert check_key(key) == key
    assert decoded(path_of(key)) == key.encode()


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "_41", "_2e", "a_e", "_tmp", "a b", "_"])
def test_a_name_that_no_key_makes_is_not_ours(name: str) -> None:
    assert entry_of(name) is None


def test_the_path_of_an_ordinary_key_can_be_read() -> None:
    assert path_of("raw/2024-01/people.csv") == "raw/2024-01/people.csv_o"
    assert [folder_name(each) for each in entries_of(b"a_b/c d")] == ["a__b", "c_20d_o"]
