from numpy import float64, int64, uint8
from numpy.typing import NDArray

def look_back(
    given: NDArray[uint8],
    flags: NDArray[uint8],
    values: NDArray[float64],
    time: NDArray[int64],
    starts: NDArray[int64],
    words: NDArray[int64],
    place: int,
    rise: float,
    fall: float,
    spike: float,
    tolerance: float,
    duration: int,
) -> tuple[list[int], list[int]]: ...
