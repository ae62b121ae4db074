from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST: Final[dict[str, int]]

class Reader:
    def __init__(
        self,
        fields: list[tuple[int, bool, bool, int, list[bytes]]],
        objects: list[dict[bytes, int]],
        depth: int,
        size: int,
    ) -> None: ...
    def read(
        self,
        payloads: list[bytes],
        types: NDArray[np.uint8],
        numbers: NDArray[np.float64],
        wholes: NDArray[np.int64],
        others: list[list[object]],
    ) -> list[int]: ...
