"""What is stored at once is all stored, or has all ended."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from lakehouse.storage import at_once, together

WAIT_S = 10.0
asked_by: ContextVar[str] = ContextVar("asked_by")


class Held:
    """What an error of a write leads to."""


def test_they_are_done_beside_each_other() -> None:
    meeting = threading.Barrier(3)

    def meet() -> None:
        meeting.wait(WAIT_S)  # one after the other would never meet

    at_once([meet] * 3)


def test_nothing_is_done_by_doing_nothing() -> None:
    at_once([])


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_an_error_comes_when_all_have_ended(order: tuple[int, ...]) -> None:
    ended: list[str] = []

    def fail() -> None:
        raise OSError("no")

    def late() -> None:
        time.sleep(0.2)
        ended.append("late")

    def well() -> None:
        ended.append("well")

    works = [fail, late, well]
    with pytest.raises(OSError, match="no"):
        at_once([works[place] for place in order])
    assert sorted(ended) == ["late", "well"]


def test_they_are_done_in_the_context_of_who_asks() -> None:
    asked_by.set("me")
    seen: list[str] = []
    at_once([lambda: seen.append(asked_by.get())] * 5)
    assert seen == ["me"] * 5


def no_thread(*arguments: object) -> None:
    raise RuntimeError("can't start new thread")


def no_word(*arguments: object) -> None:
    """Start one that finds no memory for its first frame."""


@pytest.mark.parametrize("start", [no_thread, no_word])
def test_without_a_thread_the_caller_does_them_all(
    monkeypatch: pytest.MonkeyPatch, start: Callable[..., None]
) -> None:
    monkeypatch.setattr("_thread.start_new_thread", start)
    seen: list[int] = []
    for _ in range(together.HELPERS_MAX):  # what a thread was counted for is given back
        at_once([lambda: seen.append(threading.get_ident())] * 3)
    assert seen == [threading.get_ident()] * 3 * together.HELPERS_MAX
    monkeypatch.undo()
    test_they_are_done_beside_each_other()


def test_there_are_no_more_helpers_than_said() -> None:
    going, most = 0, 0
    counting = threading.Lock()

    def count() -> None:
        nonlocal going, most
        with counting:
            going += 1
            most = max(most, going)
        time.sleep(0.01)
        with counting:
            going -= 1

    at_once([count] * (together.HELPERS_MAX * 3))
    assert 1 < most <= together.HELPERS_MAX + 1


def test_an_error_keeps_nothing_once_it_was_heard() -> None:
    gone = threading.Event()

    def failing() -> Callable[[], None]:
        held = Held()
        weakref.finalize(held, gone.set)

        def fail() -> None:
            raise OSError(repr(held))

        return fail

    gc.disable()
    try:
        try:
            at_once([lambda: None, failing()])
        except OSError as error:
            assert "Held" in str(error)
        # The thread that did it may be a moment from its end.
        assert gone.wait(WAIT_S), "a cycle holds what the error leads to, and leases with it"
    finally:
        gc.enable()
