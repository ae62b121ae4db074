"""Who was heard is told once, by name, also after the codes were given anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.heard import Heard

NAMES = [("lyon", f"bin-{number}") for number in range(40)]


@given(st.lists(st.sampled_from(["note", "anew", "take"]) | st.lists(st.integers(0, 29), max_size=9)))
def test_each_once_whatever_the_codes(steps: list[str | list[int]]) -> None:
    """Against a plain set: codes shift by a place each time that they are given anew."""
    heard, said, shift = Heard(), set[tuple[str, str]](), 0
    for step in steps:
        devices = NAMES[shift % 10 :]
        if isinstance(step, list):
            heard.note(np.array(step, dtype=np.int32), 30)
            said |= {devices[code] for code in step}
        elif step == "anew":
            heard.keep(devices)
            shift += 1
        elif step == "take":
            told = heard.take(devices)
            assert (set(told), len(told)) == (said, len(said))
            said = set()
