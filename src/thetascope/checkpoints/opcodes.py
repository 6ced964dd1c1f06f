"""What a pickle would make, counted over its opcodes before torch's unpickler runs them: no more than in proportion to its length.

A pickle may name what it made before any number of times. So pairs of pairs of pairs, used as a key, are hashed for hours; a text
that is encoded in hexadecimal again and again fills the memory; so does a storage of a number of values. Here each value has a
weight, that of all that is in it wherever it is named, and what is hashed, copied or called may weigh so much together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct, error
from typing import Any

SPARE, WEIGHT_A_BYTE = 1_000_000, 10
"""So much may be hashed, copied or called with, and so much for each byte of the pickle: real ones take less than 2 a byte."""

_PLAIN = {0x4E: 0, 0x88: 0, 0x89: 0, 0x4A: 4, 0x4B: 1, 0x4D: 2, 0x47: 8}
"""Opcodes of None, true, false and numbers, with how many bytes stand behind each."""
_four, _eight = Struct("<I").unpack_from, Struct("<Q").unpack_from
_LONGER = {0x94: 0, 0x93: 0, 0x95: 0, 0x8C: 1, 0x8D: 8, 0x43: 1, 0x42: 4, 0x8E: 8, 0x8B: 4}
"""Opcodes of protocol 4; of texts, bytes and long numbers how many bytes say how long they are."""
_MADE_OF_A_SIZE = re.compile(r"torch\.((cuda|storage)\.)?\w*(Tensor|Storage)|\w+\.bytearray")
_LATIN = (b"latin1", b"latin-1")


class TooMuch(ValueError):
    """A pickle makes more than in proportion to its length, or calls what torch.save does not."""


def check(pickle: Any, pickles: int = 1) -> None:
    """Whether a pickle makes no more than in proportion to its length; or so many, one behind the other, before anything else.

    What torch's unpickler refuses or finds damaged is left to it.

    Raises:
        TooMuch: it makes more.
    """
    place: int | None = 0
    for _ in range(pickles):
        try:
            place = None if place is None else _Weighed(pickle, SPARE + WEIGHT_A_BYTE * len(pickle)).run(place)
        except (IndexError, KeyError, TypeError, UnicodeDecodeError, error):
            return  # damaged: the unpickler says how


def check_all(pickle: Any) -> None:
    """The same of a pickle whose unpickler knows more than is weighed here: what is not weighed to its end is refused.

    Raises:
        TooMuch: it makes more, or cannot be weighed.
    """
    try:
        end = _Weighed(pickle, SPARE + WEIGHT_A_BYTE * len(pickle)).run(0)
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, error) as damage:
        raise TooMuch("it is damaged") from damage
    if end is None:
        raise TooMuch("it is cut short, or does what no metadata do")


class _Weighed:
    """The unpickler's stack, with weights for values: a number, or a list of one, which can grow and may say what the value is."""

    def __init__(self, pickle: Any, most: int) -> None:
        self._pickle, self._most, self._total = pickle, most, 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, place: int) -> int | None:  # noqa: PLR0912 - a branch an opcode, where a call each would take twice as long
        """Go through all opcodes from a place on; where the pickle ends, None where its unpickler will not come to an end."""
        pickle, stop, memo, steps = self._pickle, len(self._pickle), self._memo, _STEPS
        while place < stop:
            code, stack = pickle[place], self._stack
            place += 1
            if code == 0x71:  # BINPUT: the most frequent ones first
                memo[pickle[place]] = stack[-1]
                place += 1
            elif code == 0x68:  # BINGET
                stack.append(memo[pickle[place]])
                place += 1
            elif code == 0x72:  # LONG_BINPUT
                memo[_four(pickle, place)[0]] = stack[-1]
                place += 4
            elif code == 0x6A:  # LONG_BINGET
                stack.append(memo[_four(pickle, place)[0]])
                place += 4
            elif code in steps:
                steps[code](self)
            elif code in _PLAIN:
                stack.append(1)
                place += _PLAIN[code]
            elif code == 0x58:  # BINUNICODE
                end = place + 4 + _four(pickle, place)[0]
                is_latin = end - place < 12 and pickle[place + 4 : end] in _LATIN
                stack.append([1, "latin1"] if is_latin else 1 + (end - place >> 4))
                place = end
            elif code in (0x55, 0x8A):  # SHORT_BINSTRING, LONG1
                stack.append(1 + (pickle[place] >> 4))
                place += 1 + pickle[place]
            elif code == 0x63:  # GLOBAL
                middle = pickle.find(b"\n", place)
                end = pickle.find(b"\n", middle + 1)
                if middle < 0 or end < 0:
                    return None
                stack.append([1, f"{bytes(pickle[place:middle]).decode()}.{bytes(pickle[middle + 1 : end]).decode()}"])
                place = end + 1
            elif code == 0x2E:  # STOP
                return place
            elif code == 0x80:  # PROTO
                place += 1
            elif code in _LONGER:
                place = self._longer(code, place)
            else:  # the unpickler knows no other
                return None
        return None

    def _longer(self, code: int, place: int) -> int:
        """What protocol 4 writes besides, which torch's unpickler does not know; where it ends."""
        if code == 0x94:  # MEMOIZE
            self._memo[len(self._memo)] = self._stack[-1]
            return place
        if code == 0x93:  # STACK_GLOBAL
            del self._stack[-2:]
            self._stack.append([1])
            return place
        if code == 0x95:  # FRAME
            return place + 8
        wide = _LONGER[code]
        length = self._pickle[place] if wide == 1 else (_four if wide == 4 else _eight)(self._pickle, place)[0]
        self._stack.append(1 + (length >> 4))
        return int(place + wide + length)

    def _add(self, weight: int) -> None:
        self._total += weight
        if self._total > self._most:
            raise TooMuch("it would make far more than it holds")

    def _tuple(self, items: list[Any]) -> None:
        first = items[0] if items else 1
        if isinstance(first, list) and len(first) > 1 and _MADE_OF_A_SIZE.fullmatch(str(first[1])):
            raise TooMuch(f'it calls "{first[1]}" with a size')
        weight = min(1 + sum(map(_weight, items)), self._most + 1)
        is_latin = len(items) == 2 and isinstance(items[1], list) and items[1][1:] == ["latin1"]
        self._stack.append([weight, "latin1 text"] if is_latin else weight)

    def last(self, count: int) -> None:
        """TUPLE1, TUPLE2, TUPLE3."""
        items = self._stack[-count:]
        del self._stack[-count:]
        self._tuple(items)

    def mark(self) -> None:
        """MARK."""
        self._below.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def marked_tuple(self) -> None:
        """TUPLE."""
        self._tuple(self._marked())

    def empty(self) -> None:
        """EMPTY_LIST, EMPTY_DICT, EMPTY_SET."""
        self._stack.append([1])

    def _grow(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target[0] = min(target[0] + sum(map(_weight, items)), self._most + 1)

    def appends(self) -> None:
        """APPENDS."""
        self._grow(self._marked())

    def append(self) -> None:
        """APPEND."""
        self._grow([self._stack.pop()])

    def set_items(self) -> None:
        """SETITEMS: keys are hashed."""
        items = self._marked()
        self._add(sum(map(_weight, items[::2])))
        self._grow(items)

    def set_item(self) -> None:
        """SETITEM."""
        value, key = self._stack.pop(), self._stack.pop()
        self._add(_weight(key))
        self._grow([key, value])

    def call(self) -> None:
        """REDUCE, NEWOBJ: what is called may copy its arguments."""
        arguments, called = self._stack.pop(), self._stack.pop()
        name = str(called[1]) if isinstance(called, list) and len(called) > 1 else ""
        if _MADE_OF_A_SIZE.fullmatch(name):
            raise TooMuch(f'it calls "{name}" with a size')
        if name == "_codecs.encode" and not (isinstance(arguments, list) and arguments[1:] == ["latin1 text"]):
            raise TooMuch('it calls "_codecs.encode" for more than the bytes of a text')
        self._add(_weight(arguments))
        self._stack.append([_weight(arguments)])

    def build(self) -> None:
        """BUILD: the state is copied into the object."""
        state = self._stack.pop()
        self._add(_weight(state))
        self._grow([state])

    def storage(self) -> None:
        """BINPERSID."""
        self._stack[-1] = 1


def _weight(value: Any) -> int:
    return value if value.__class__ is int else value[0]


_STEPS: dict[int, Callable[[_Weighed], None]] = {
    0x85: lambda weighed: weighed.last(1),
    0x86: lambda weighed: weighed.last(2),
    0x87: lambda weighed: weighed.last(3),
    0x28: _Weighed.mark,
    0x74: _Weighed.marked_tuple,
    0x29: lambda weighed: weighed._stack.append(1),
    0x5D: _Weighed.empty,
    0x7D: _Weighed.empty,
    0x8F: _Weighed.empty,
    0x61: _Weighed.append,
    0x65: _Weighed.appends,
    0x73: _Weighed.set_item,
    0x75: _Weighed.set_items,
    0x52: _Weighed.call,
    0x81: _Weighed.call,
    0x62: _Weighed.build,
    0x51: _Weighed.storage,
}
