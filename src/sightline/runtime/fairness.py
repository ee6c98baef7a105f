"""Fair shares between callers: whoever sends much does not slow those who send little.

A caller is the API key of a request, by its name. Requests without a key are one caller together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

# Set while a request is answered.
CALLER: ContextVar[str] = ContextVar("caller", default="")


class Called(Protocol):
    """Something that a caller waits for."""

    @property
    def caller(self) -> str:
        """Whose it is."""
        ...


CalledT = TypeVar("CalledT", bound=Called)


class FairQueue(Generic[CalledT]):
    """A queue that takes one item of each caller in turn, the first of each first.

    With one caller it is first in, first out. Not safe for threads.
    """

    def __init__(self) -> None:
        self._by_caller: dict[str, deque[CalledT]] = {}

    def __len__(self) -> int:
        return sum(len(items) for items in self._by_caller.values())

    def __iter__(self) -> Iterator[CalledT]:
        for items in self._by_caller.values():
            yield from items

    def __bool__(self) -> bool:
        return bool(self._by_caller)

    @property
    def next(self) -> CalledT:
        """The item whose turn it is. Raises StopIteration if there is none."""
        return next(iter(self._by_caller.values()))[0]

    def append(self, item: CalledT) -> None:
        """Put an item behind those of its caller."""
        self._by_caller.setdefault(item.caller, deque()).append(item)

    def pop(self) -> CalledT:
        """Take the item whose turn it is; its caller comes last now. Raises StopIteration if it is empty."""
        caller, items = next(iter(self._by_caller.items()))
        del self._by_caller[caller]
        item = items.popleft()
        if items:
            self._by_caller[caller] = items
        return item

    def remove(self, item: CalledT) -> None:
        """Take an item out. Raises ValueError if it is not there."""
        items = self._by_caller.get(item.caller, deque())
        items.remove(item)
        if not items:
            del self._by_caller[item.caller]

    def clear(self) -> None:
        """Forget all items."""
        self._by_caller.clear()
