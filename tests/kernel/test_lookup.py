"""Topics that are looked up by the compiled twin have the codes that the dict gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.decode import routes as module
from tests.decode.plans import profile, routes

if TYPE_CHECKING:
    from types import ModuleType

TWIN = "lookup"
BODY = "quantities: {a: {path: a, unit: mm}}\n"

topics = st.lists(
    st.sampled_from([b"t/s/a", b"t/s/b", b"t/s/c", b"x", b"\xff", b"y" * 2_000]) | st.binary(max_size=3)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(topics, max_size=4))
def test_same_codes(twin: ModuleType, batches: list[list[bytes]]) -> None:
    """Known topics, new ones among them, and ones that are not worth remembering."""
    found = []
    for chosen in (twin, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_LOOKUP", chosen)
            here = routes(profile(BODY), max_topics=5)
            found.append([here.codes(batch).tolist() for batch in batches])
    assert found[0] == found[1]


def test_it_stops_at_what_is_unknown(twin: ModuleType) -> None:
    """And says so: what the rest of the column holds does not count."""
    found = np.zeros(3, dtype=np.int32)
    assert twin.find({b"a": 5, b"b": 6}, [b"b", b"a", b"b"], found)
    assert found.tolist() == [6, 5, 6]
    assert not twin.find({b"a": 5}, [b"a", b"b", b"a"], found)
    with pytest.raises(ValueError, match="place"):
        twin.find({}, [b"a"], found)
