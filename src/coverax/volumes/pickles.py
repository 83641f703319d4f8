"""Plain data out of a pickle, and nothing else: no class is looked up, nothing is called.

A pickle is a program. The few NumPy constructors that property files hold are stood in
for by records that only remember their arguments; any other name is refused.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from coverax.files import one_line

_NUMPY = {f"{name}.multiarray" for name in ("numpy.core", "numpy._core")}
_NUMPY_NUMERIC = {f"{name}.numeric" for name in ("numpy.core", "numpy._core")}
_KINDS = "biufcSU"  # of dtypes that hold numbers or text
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
_BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def read_plain_pickle(path: Path) -> Any:
    """What a pickle of plain data holds; arrays and scalars as `plain` turns them out.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It names anything but plain data, or is damaged.
    """
    data = path.read_bytes()
    try:
        _check_promises(data)
        return _Plain(io.BytesIO(data)).load()
    except _Refused as refused:
        raise ValueError(
            f"{path}: the pickle names {refused}; only dictionaries, lists, text, "
            "numbers and NumPy arrays are read"
        ) from None
    except _BROKEN as error:
        why = one_line(error) or type(error).__name__
        raise ValueError(f"{path}: not a sound pickle ({why})") from None


def plain(value: Any) -> Any:
    """A value out of a pickle with its arrays and scalars made; one level of lists.

    Raises:
        ValueError: An array is of objects, or its bytes do not fill its shape.
    """
    if isinstance(value, (_Array, _Scalar)):
        return value.made()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def _check_promises(data: bytes) -> None:
    """Refuse lengths and places that the bytes do not hold, before any are reserved.

    Raises:
        ValueError: There is one, or the bytes are no opcodes.
    """
    for opcode, argument, _place in pickletools.genops(data):
        if opcode.name in _MEMO and int(argument or 0) > len(data):
            raise ValueError(f"memo entry {argument} in {len(data)} bytes")


class _Fixed(type):
    """A stand-in that no pickle changes for the next one."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError(f"{cls.__name__} takes no {name}")


class _Refused(Exception):
    """A name that no plain data needs."""


class _Dtype(metaclass=_Fixed):
    """`numpy.dtype(code, align, copy)` and the state that sets its byte order."""

    def __init__(self, code: str = "", *_: Any):
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def made(self) -> np.dtype:
        code = str(self.code)
        if code[:1] not in _KINDS or not code[1:].isdigit():
            raise ValueError(f"an array of type {code!r}")
        return np.dtype((self.order if self.order in "<>" else "") + code)


class _Scalar(metaclass=_Fixed):
    """`numpy.core.multiarray.scalar(dtype, bytes)`."""

    def __init__(self, dtype: Any = None, data: Any = b""):
        self.dtype, self.data = dtype, data

    def made(self) -> Any:
        return _array(self.dtype, self.data, ())[()].item()


class _Array(metaclass=_Fixed):
    """`_reconstruct(ndarray, (0,), b"b")`, its state, or `_frombuffer`."""

    def __init__(self, *args: Any):
        self.state: Any = None
        if len(args) == 4:  # _frombuffer(data, dtype, shape, order)
            self.state = (1, args[2], args[1], args[3] == "F", args[0])

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def made(self) -> np.ndarray:
        if self.state is None or len(self.state) != 5:
            raise ValueError("an array without content")
        _, shape, dtype, is_fortran, data = self.state
        return _array(dtype, data, tuple(shape), "F" if is_fortran else "C")


def _array(dtype: Any, data: Any, shape: tuple[int, ...], order: Any = "C"):
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
        raise ValueError("an array of objects")
    return np.frombuffer(data, dtype.made()).reshape(shape, order=order)


class _Ndarray(metaclass=_Fixed):
    """`numpy.ndarray`, named and never made."""


class _Plain(pickle.Unpickler):
    """An unpickler to which only the stand-ins above are known."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[str, Any] = {}
        if module == "numpy":
            known = {"dtype": _Dtype, "ndarray": _Ndarray}
        elif module in _NUMPY:
            known = {"scalar": _Scalar, "_reconstruct": _Array}
        elif module in _NUMPY_NUMERIC:
            known = {"_frombuffer": _Array}
        if name not in known:
            raise _Refused(one_line(f"{module}.{name}"))
        return known[name]

    def persistent_load(self, _pid: Any) -> Any:
        raise _Refused("a persistent object")
