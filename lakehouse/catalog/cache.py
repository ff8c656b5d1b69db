"""The most recently used values of something immutable."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key up to a weight in all, the least recently used leaves first. Thread-safe.

    Only for what never changes under its key: files of a table are written once.

    Args:
        weight_max: of all values; one that is heavier alone is kept until the next comes.
        weigh: how heavy a value is, at least 1; without it all weigh 1.
    """

    def __init__(self, weight_max: int, weigh: Callable[[T], int] | None = None) -> None:
        self._weight_max = weight_max
        self._weigh = weigh
        self._values: OrderedDict[str, tuple[int, T]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of `key`, from `make` the first time; two threads may both make it."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][1]
        value = make()
        self.put(key, value)
        return value

    def put(self, key: str, value: T) -> None:
        weight = max(1, self._weigh(value)) if self._weigh else 1
        with self._lock:
            self._weight += weight - self._values.get(key, (0, value))[0]
            self._values[key] = (weight, value)
            self._values.move_to_end(key)
            while self._weight > self._weight_max and len(self._values) > 1:
                self._weight -= self._values.popitem(last=False)[1][0]
