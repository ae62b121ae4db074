from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.model import Bool, Int32, Int64

_TagSet: TypeAlias = tuple[tuple[str, str], ...]

def each(texts: list[str | None], make: Callable[[str | None], bytes]) -> list[bytes]: ...
def lines(
    *,
    measurement: bytes,
    tags: Sequence[_TagSet],
    seen: list[_TagSet | None],
    texts: list[bytes],
    tag_text: Callable[[_TagSet], bytes],
    series: Int32,
    time: Int64,
    fields: list[tuple[bytes, NDArray[np.generic] | list[bytes], Bool | None]],
) -> tuple[bytes, int]: ...
