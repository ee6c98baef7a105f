"""Pickles read as data. Nothing that a pickle names is imported, looked up or called.

Python's own unpickler can be told what each name stands for, but a pickle still decides how the results are
called and changed, how much memory is reserved and how long hashing takes. This reader allows none of that:
names become ``Global``, calls and objects become ``Inert``, and every count has a bound.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sightline.errors import CheckpointInvalid

# The largest that we know, of whole networks with hundreds of modules, have a tenth of these.
_MAX_BYTES = 1 << 26
_MAX_OPCODES = 1 << 21
_MAX_NAME_BYTES = 1000
_MAX_INTEGER_BYTES = 32
_MAX_KEY = 1 << 31

Call = Callable[..., object]
Persistent = Callable[[object], object]


@dataclass(frozen=True, slots=True)
class Global:
    """The dotted name of a class, a function or a dtype. Python 2's ``__builtin__`` is named ``builtins``."""

    name: str


@dataclass(eq=False, slots=True)
class Inert:
    """The description of an object or of a function call in a pickle, without the object.

    Attributes:
        name: dotted name of the class or function.
        args: what it would be made with.
        state: its attributes; those of a torch module include ``_parameters``, ``_buffers`` and ``_modules``.
        items: what it holds as a list (elements) or as a dictionary (pairs).
    """

    name: str
    args: tuple[Any, ...] = ()
    state: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    @property
    def children(self) -> Mapping[str, Any]:
        """Submodules of a torch module by name."""
        found = self.state.get("_modules")
        return found if isinstance(found, dict) else {}


def read(
    data: memoryview, begin: int, calls: Mapping[str, Call], persistent: Persistent
) -> tuple[object, int]:
    """Return the object that is pickled in ``data`` at ``begin``, and where the pickle ends.

    Args:
        data: the file, or the part of it that may be read.
        begin: index of the first byte of the pickle.
        calls: by dotted name, the only functions that are called: ours, for what a tensor is made of.
        persistent: returns what a persistent id stands for.

    Raises:
        CheckpointInvalid: not a pickle, cut short, too large, or with an opcode that no checkpoint needs.
    """
    machine = _Machine(data[begin : begin + _MAX_BYTES], calls, persistent)
    try:
        result = machine.run()
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise CheckpointInvalid("the pickle is damaged") from error
    return result, begin + machine.place


class _Machine:
    """One run over one pickle: a stack, the stacks below each mark, and a memo."""

    def __init__(self, data: memoryview, calls: Mapping[str, Call], persistent: Persistent) -> None:
        self.place = 0
        self._data = data
        self._calls = calls
        self._persistent = persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(_MAX_OPCODES):
            opcode = self._take(1)
            if opcode == b".":
                (result,) = self._stack
                return result
            run = _OPCODES.get(opcode)
            if run is None:
                raise CheckpointInvalid(f"the pickle uses an opcode that no checkpoint needs: {opcode!r}")
            run(self)
        raise CheckpointInvalid(f"the pickle has more than {_MAX_OPCODES} opcodes")

    def _take(self, length: int) -> bytes:
        end = self.place + length
        if end > len(self._data):
            raise CheckpointInvalid("the pickle is cut short or too large")
        taken = bytes(self._data[self.place : end])
        self.place = end
        return taken

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        begun = bytes(self._data[self.place : self.place + _MAX_NAME_BYTES])
        length = begun.index(b"\n")
        self.place += length + 1
        return begun[:length].decode()

    def _top_of_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def push(self, value: object) -> None:
        self._stack.append(value)

    def text(self, form: str) -> None:
        self.push(self._take(self._number(form)).decode("utf-8", "surrogatepass"))

    def raw(self, form: str) -> None:
        self.push(self._take(self._number(form)))

    def number(self, form: str) -> None:
        self.push(self._number(form))

    def integer(self, form: str) -> None:
        length = self._number(form)
        if length > _MAX_INTEGER_BYTES:
            raise CheckpointInvalid("the pickle has an integer of too many digits")
        self.push(int.from_bytes(self._take(length), "little", signed=True))

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._top_of_mark()

    def skip(self, length: int) -> None:
        self._take(length)

    def put(self, form: str) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def get(self, form: str) -> None:
        self.push(self._memo[self._number(form)])

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def last(self, length: int) -> None:
        items = [self._stack.pop() for _ in range(length)]
        self.push(tuple(reversed(items)))

    def marked_tuple(self) -> None:
        self.push(tuple(self._top_of_mark()))

    def drop_mark(self) -> None:
        self._top_of_mark()

    def duplicate(self) -> None:
        self.push(self._stack[-1])

    def marked_list(self) -> None:
        self.push(self._top_of_mark())

    def marked_dict(self) -> None:
        items = self._top_of_mark()
        self.push({})
        self._set_items(items)

    def marked_set(self) -> None:
        self.push(distinct(self._top_of_mark()))

    def append(self) -> None:
        self._extend([self._stack.pop()])

    def appends(self) -> None:
        self._extend(self._top_of_mark())

    def _extend(self, items: list[Any]) -> None:
        into = self._stack[-1]
        if isinstance(into, list):
            into.extend(items)
        elif isinstance(into, Inert):
            into.items.extend(items)
        else:
            raise TypeError

    def add_items(self) -> None:
        items = self._top_of_mark()
        self._stack[-1] |= distinct(items)

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def set_items(self) -> None:
        self._set_items(self._top_of_mark())

    def _set_items(self, items: list[Any]) -> None:
        into, pairs = self._stack[-1], list(zip(items[::2], items[1::2], strict=True))
        if isinstance(into, dict):
            into.update((_key(key), value) for key, value in pairs)
        elif isinstance(into, Inert):
            into.items.extend(pairs)
        else:
            raise TypeError

    def named(self) -> None:
        self._push_global(self._line(), self._line())

    def stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise TypeError
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        self.push(Global(f"{'builtins' if module == '__builtin__' else module}.{name}"))

    def persistent(self) -> None:
        self.push(self._persistent(self._stack.pop()))

    def new_object(self) -> None:
        args, kind = self._stack.pop(), self._stack.pop()
        self._push_object(kind, args)

    def new_object_with_keywords(self) -> None:
        self._stack.pop()
        self.new_object()

    def _push_object(self, kind: Any, args: Any) -> None:
        if not isinstance(args, tuple):
            raise TypeError
        if isinstance(kind, Global) and kind.name in self._calls:
            self.push(self._calls[kind.name](*args))
        elif isinstance(kind, Global):
            self.push(Inert(kind.name, args))
        elif isinstance(kind, Inert):
            self.push(Inert(f"{kind.name}()", args))
        else:
            raise TypeError

    def build(self) -> None:
        state, built = self._stack.pop(), self._stack[-1]
        # What a dictionary has besides its items, such as the versions in a state dictionary, is not needed.
        if isinstance(built, dict):
            return
        if not isinstance(built, Inert):
            raise TypeError
        # With slots, the state is a pair of dictionaries.
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                built.state.update(part)


def distinct(items: list[Any]) -> set[Any]:
    """Return the elements of a pickled set."""
    return {_key(item) for item in items}


def _key(key: Any) -> Any:
    """Return a key of a dictionary.

    Hashing nested tuples can take for ever or overflow the stack, and large numbers can be chosen to collide.
    """
    for part in key if isinstance(key, tuple) else (key,):
        small = isinstance(part, int) and abs(part) <= _MAX_KEY
        if not (small or part is None or isinstance(part, str | bytes | Global)):
            raise CheckpointInvalid("the pickle has a dictionary with keys that no checkpoint needs")
    return key


# The opcodes of protocols 2 to 5 by code, as pickletools lists them, except those that look up a registry of
# classes or take buffers from outside.
_OPCODES: Mapping[bytes, Callable[[_Machine], None]] = {
    b"\x80": lambda m: m.skip(1),  # PROTO
    b"\x95": lambda m: m.skip(8),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.number("<i"),
    b"K": lambda m: m.number("<B"),
    b"M": lambda m: m.number("<H"),
    b"\x8a": lambda m: m.integer("<B"),
    b"\x8b": lambda m: m.integer("<I"),
    b"G": lambda m: m.number(">d"),
    b"X": lambda m: m.text("<I"),
    b"\x8c": lambda m: m.text("<B"),
    b"\x8d": lambda m: m.text("<Q"),
    b"U": lambda m: m.text("<B"),  # strings of Python 2
    b"T": lambda m: m.text("<I"),
    b"B": lambda m: m.raw("<I"),
    b"C": lambda m: m.raw("<B"),
    b"\x8e": lambda m: m.raw("<Q"),
    b"(": _Machine.mark,
    b"0": _Machine.pop,
    b"1": _Machine.drop_mark,
    b"2": _Machine.duplicate,
    b"q": lambda m: m.put("<B"),
    b"r": lambda m: m.put("<I"),
    b"h": lambda m: m.get("<B"),
    b"j": lambda m: m.get("<I"),
    b"\x94": _Machine.memoize,
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.last(1),
    b"\x86": lambda m: m.last(2),
    b"\x87": lambda m: m.last(3),
    b"t": _Machine.marked_tuple,
    b"]": lambda m: m.push([]),
    b"l": _Machine.marked_list,
    b"a": _Machine.append,
    b"e": _Machine.appends,
    b"}": lambda m: m.push({}),
    b"d": _Machine.marked_dict,
    b"s": _Machine.set_item,
    b"u": _Machine.set_items,
    b"\x8f": lambda m: m.push(set()),
    b"\x90": _Machine.add_items,
    b"\x91": _Machine.marked_set,
    b"c": _Machine.named,
    b"\x93": _Machine.stack_global,
    b"Q": _Machine.persistent,
    b"R": _Machine.new_object,  # REDUCE: a call; for us the same as NEWOBJ
    b"\x81": _Machine.new_object,
    b"\x92": _Machine.new_object_with_keywords,
    b"b": _Machine.build,
}
