"""What is kept in memory is bounded by what it weighs, not by how many there are."""

import threading

from lakehouse.catalog.cache import Cache
from lakehouse.catalog.tables import Locks


def test_the_least_recently_used_leaves_first() -> None:
    cache: Cache[int] = Cache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a", lambda: 9) == 1
    cache.put("c", 3)
    assert cache.get("b", lambda: 9) == 9
    assert cache.get("c", lambda: 8) == 3


def test_values_are_weighed() -> None:
    cache: Cache[str] = Cache(10, len)
    for key in "abcd":
        cache.put(key, "xxx")
    assert cache.get("a", str) == ""
    cache.put("long", "x" * 50)
    assert cache.get("long", str) == "x" * 50, "one that is heavier alone is kept"
    assert cache.get("d", lambda: "gone") == "gone"


def test_a_value_put_again_is_weighed_once() -> None:
    cache: Cache[str] = Cache(10, len)
    for _ in range(100):
        cache.put("a", "xxxx")
    cache.put("b", "xxxx")
    assert cache.get("a", lambda: "gone") == "xxxx"


def test_many_threads_share_a_cache() -> None:
    cache: Cache[int] = Cache(50)

    def work(start: int) -> None:
        for number in range(2000):
            key = (number * start) % 100
            assert cache.get(str(key), lambda key=key: key) == key  # type: ignore[misc]

    threads = [threading.Thread(target=work, args=(start,)) for start in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(cache.get(str(key), lambda: -1) >= 0 for key in range(100)) <= 50


def test_locks_are_forgotten_when_nobody_holds_them() -> None:
    locks = Locks()
    counts = {"a": 0, "b": 0}

    def work(names: list[str]) -> None:
        for _ in range(300):
            with locks.hold(names):
                for name in names:
                    counts[name] += 1

    orders = [["a", "b"], ["b", "a"], ["a"], ["b", "b"]]
    threads = [threading.Thread(target=work, args=(names,)) for names in orders * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "no deadlock"
    assert counts == {"a": 1800, "b": 2400}
    assert locks._used == {}
