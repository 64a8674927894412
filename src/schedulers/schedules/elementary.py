"""exp, log and others, of arrays, with the same bits on every processor.

NumPy computes these with the instructions that the processor has, and the last bit depends on them.
Here each element goes through Python's `math`. That takes 0.1 us, and a run's weights need a few of
them for each level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def _elementwise(function: Callable[..., float], arguments: int = 1) -> Callable[..., Floats]:
    of_objects: Any = np.frompyfunc(function, arguments, 1)

    def of_floats(*values: ArrayLike) -> Floats:
        return np.asarray(of_objects(*values), dtype=np.float64)

    return of_floats


exp = _elementwise(math.exp)
expm1 = _elementwise(math.expm1)
sin = _elementwise(math.sin)
cos = _elementwise(math.cos)
tan = _elementwise(math.tan)
arctan2 = _elementwise(math.atan2, 2)
power = _elementwise(math.pow, 2)
log = _elementwise(lambda x: math.log(x) if x else -math.inf)
log1p = _elementwise(lambda x: math.log1p(x) if x > -1.0 else -math.inf)
softplus = _elementwise(lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))))
