"""JSON payloads straight to columns, through the compiled `kernel.flat_json`, where a profile is flat.

It takes what is usual and leaves the rest to `json_payload`, which alone judges: see the kernel's own
words. Profiles with lists, free keys, histories or times as text go through `json_payload` altogether.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.decode.records import Columns
from gateway.decode.shape import MAX_LABEL, MAX_TEXT, MAX_WHOLE, Want
from gateway.kernel import compiled

if TYPE_CHECKING:
    from gateway.decode.frames import Frames
    from gateway.decode.shape import Flat, Shape
    from gateway.profiles.plan import ProfilePlan

_FLAT_JSON: Final = compiled("flat_json")

_ANY: Final = 10**18
"""More than the digits that the kernel takes: no limit of its own."""
_FIELDS: Final[dict[Want, tuple[int, bool, bool, int]]] = {
    Want.NUMBER: (_ANY, True, False, -1),
    Want.WHOLE: (MAX_WHOLE, True, False, -1),
    Want.TIME: (_ANY, True, False, -1),
    Want.SCALAR: (_ANY, True, True, MAX_TEXT),
    Want.TEXT: (-1, False, False, MAX_TEXT),
    Want.LABEL: (MAX_WHOLE, False, True, MAX_LABEL),
}
"""What the types of `decode.shape` allow: the greatest whole number, floats, truths, the longest text."""


class JsonColumns:
    """Reads the usual payloads of one profile."""

    def __init__(self, flat: Flat, reader: Any) -> None:  # noqa: ANN401 - of a module that may be absent
        self.leaves = flat.leaves
        self._words = flat.words
        self._reader = reader

    def parse(self, frames: Frames) -> tuple[Columns, list[int]]:
        """Return columns with a row a payload, and the places, ascending, of those that are left.

        Rows of payloads that are left are undefined: `Columns.fill` is for them.
        """
        payloads = frames.payloads
        size = (len(self.leaves), len(payloads))
        columns = Columns(
            types=np.empty(size, dtype=np.uint8),
            numbers=np.empty(size, dtype=np.float64),
            wholes=np.empty(size, dtype=np.int64),
            others=[list(words) for words in self._words],
        )
        left = self._reader.read(payloads, columns.types, columns.numbers, columns.wholes, columns.others)
        return columns, left


def compile_columns(shape: Shape, plan: ProfilePlan) -> JsonColumns | None:
    """Return a reader of payloads of that shape; None where it is not flat, or nothing was compiled."""
    if _FLAT_JSON is None:
        return None
    flat = shape.flat()
    if flat is None or not all(leaf.want in _FIELDS for leaf in flat.leaves):
        return None
    words = [[word.encode() for word in expected] for expected in flat.words]
    fields = [(*_FIELDS[leaf.want], of) for leaf, of in zip(flat.leaves, words, strict=True)]
    objects = [{key.encode(): leads for key, leads in keys.items()} for keys in flat.objects]
    most = _FLAT_JSON.MOST
    if (
        len(fields) > most["fields"]
        or len(objects) > most["objects"]
        or sum(map(len, objects)) > most["keys"]
        or sum(map(len, words)) > most["words"]
    ):
        return None
    return JsonColumns(flat, _FLAT_JSON.Reader(fields, objects, plan.max_depth, plan.max_payload))
