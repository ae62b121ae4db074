import numpy as np
from numpy.typing import NDArray

def find(codes: dict[bytes, int], topics: list[bytes], found: NDArray[np.int32]) -> bool: ...
