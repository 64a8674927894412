"""Values that no argument is meant for, or that few are."""

import collections
import decimal
import fractions
import math

import numpy as np


class Unprintable:
    """What it is cannot be said."""

    def __repr__(self):
        return "Unprintable"


def _nested(depth):
    value = [1.0]
    for _ in range(depth):
        value = [value]
    return value


def values():
    """Return the nasty values, new ones, by what they are."""
    floats = np.array([0.5, 0.25])
    masked = np.ma.masked_array([0.5, 0.25], mask=[True, False])
    return {
        "None": None,
        "True": True,
        "np.True_": np.True_,
        "0": 0,
        "-1": -1,
        "2": 2,
        "1e9": 10**9,
        "2**31": 2**31,
        "2**63": 2**63,
        "-2**63": -(2**63),
        "10**400": 10**400,
        "-0.0": -0.0,
        "0.5": 0.5,
        "1.0": 1.0,
        "1.5": 1.5,
        "-1.0": -1.0,
        "tiny": 5e-324,
        "small": 1e-300,
        "huge": 1e300,
        "max": 1.7976931348623157e308,
        "inf": math.inf,
        "-inf": -math.inf,
        "nan": math.nan,
        "complex": 1j,
        "Fraction": fractions.Fraction(1, 3),
        "Decimal": decimal.Decimal("0.5"),
        "str": "5",
        "empty str": "",
        "long str": "x" * 10_000,
        "bytes": b"5",
        "bytearray": bytearray(b"\x02\x01"),
        "memoryview": memoryview(b"\x02\x01"),
        "object": object(),
        "Unprintable": Unprintable(),
        "module": math,
        "function": lambda *args: None,
        "dict": {},
        "dict of numbers": {1: 0.5},
        "set": {0.5},
        "deque": collections.deque([0.5]),
        "generator": (i for i in range(3)),
        "range": range(3, 0, -1),
        "slice": slice(3),
        "list": [],
        "list of bools": [True, 0.5],
        "nested bools": [[True, 0.5], [0.5, 1.0]],
        "list of strings": ["0.9", "0.1"],
        "list of None": [None, None],
        "list with NaN": [2.0, math.nan],
        "list with inf": [math.inf, 1.0],
        "list with -0.0": [0.5, -0.0],
        "list of huge ints": [10**400, 1],
        "ragged": [[1.0], [1.0, 2.0]],
        "deep": _nested(200),
        "long list": [0.5] * 100_000,
        "falling": [0.9, 0.5, 0.1],
        "falling to 0": [2.0, 1.0, 0.0],
        "equal": [0.5, 0.5],
        "close": [0.5, math.nextafter(0.5, 0.0)],
        "tuple": (0.5, 0.25),
        "array": floats,
        "scalar array": np.array(0.5),
        "empty array": np.zeros(0),
        "empty rows": np.zeros((2, 0)),
        "float16": np.array([0.5, 0.25], np.float16),
        "large float16": np.full(2, 65504.0, np.float16),
        "float32": np.array([0.5, 0.25], np.float32),
        "large float32": np.full(2, 3e38, np.float32),
        "longdouble": np.array([0.5, 0.25], np.longdouble),
        "large array": np.full(2, 1e308),
        "big-endian": np.array([0.5, 0.25], ">f8"),
        "int array": np.array([2, 1]),
        "uint8 array": np.array([2, 1], np.uint8),
        "bool array": np.array([True, False]),
        "complex array": np.array([1j, 2.0]),
        "NaN array": np.array([np.nan, 1.0]),
        "inf array": np.array([np.inf, 1.0]),
        "object array": np.array([0.5, None], object),
        "object floats": np.array([0.5, 0.25], object),
        "str array": np.array(["a", "b"]),
        "datetimes": np.array(["2020-01-01"], "datetime64[D]"),
        "structured": np.zeros(2, [("a", float)]),
        "matrix": np.array([[0.5, 0.25]]).view(np.matrix),
        "masked": masked,
        "masked numbers in a list": [np.ma.masked, 1.0],
        "np.float64": np.float64(0.5),
        "np.int64": np.int64(2),
        "0-d int": np.array(3),
        "read-only": np.broadcast_to(np.array(0.5), (2,)),
        "strided": np.arange(8.0)[::-4],
        "wide": np.zeros((1, 2)),
        "deep array": np.zeros((1,) * 20),
    }


def twisted(valid):
    """Return arrays of the shape of a valid one that should not be there, by what they are."""
    if not isinstance(valid, np.ndarray) or valid.dtype.kind != "f" or not valid.size:
        return {}
    ones = np.ones_like(valid)
    one_nan, one_inf = ones.copy(), ones.copy()
    one_nan.flat[-1], one_inf.flat[0] = np.nan, -np.inf
    return {
        "its shape, NaN": one_nan,
        "its shape, -inf": one_inf,
        "its shape, complex": ones + 0j,
        "its shape, int": ones.astype(int),
        "its shape, bool": ones.astype(bool),
        "its shape, object": ones.astype(object),
        "its shape, str": ones.astype(str),
        "its shape, masked": np.ma.masked_array(ones, mask=one_nan != one_nan),
        "its shape, matrix": (ones if ones.ndim == 2 else ones.reshape(1, -1)).view(np.matrix),
        "its shape, float16": np.full_like(valid, 65504.0, np.float16),
        "its shape, float32": np.full_like(valid, 3e38, np.float32),
        "its shape, large": np.full_like(valid, 1e308),
        "its shape, tiny": np.full_like(valid, 5e-324),
        "its values in a list": valid.tolist(),
        "its values, transposed": valid.T[..., None],
        "its values, flat": valid.reshape(-1)[None],
    }
