"""What values must be, checked once for files, arrays and kernels.

An array is anything that NumPy can read: of NumPy itself, JAX, torch (MONAI), pandas, or
lists. Maps are float32, rounded once from any other float type, before anything is
compared with them. A mask is true where it is not 0, and holds whole numbers that are not
negative: -1, 0.5 and NaN are no answer to "does this voxel count".
"""

import inspect
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Integer

from coverax.shown import plural

P = ParamSpec("P")
R = TypeVar("R")
Convert = Callable[[Any, str], Any]

# Parameters of public functions that are maps, and those that are masks.
MAPS = frozenset({"probs", "inner_map", "outer_map", "score_map"})
MASKS = frozenset({"labels", "mask", "valid"})
_LABEL_LIMIT = 2.0**31  # labels are int32
_FEW_LABELS = 20  # distinct whole numbers of a segmentation, at most
_TOPS = (100, 255, 65535)  # what stands for 1 in maps that are no probabilities


def as_array(values: Any, name: str) -> np.ndarray:
    """Numbers as a NumPy array of their own type; bfloat16 and its kin as float32.

    Raises:
        TypeError: It holds text or objects, or is no array at all.
        ValueError: Entries are masked out, or rows are of different lengths.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array: fill it, and say what counts in valid"
        )
    try:
        array = np.asarray(_in_memory(values))
    except (BufferError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as an array: {error}") from None
    if array.dtype.kind in "biuf":
        return array
    # NumPy does not know these types by kind, only what they fit into.
    is_number = array.dtype.kind == "V" and array.dtype.names is None
    if is_number and np.can_cast(array.dtype, np.float32):
        return array.astype(np.float32)
    raise TypeError(f"{name} must hold numbers, got {_type_name(array)}")


def _in_memory(values: Any) -> Any:
    """A torch tensor off its graph and its device; anything else as it is.

    What speaks DLPack alone (CuPy and its kin) comes as a view of its memory, or as a
    copy where that is another device's.
    """
    if not callable(getattr(values, "detach", None)):
        if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
            return np.from_dlpack(values, device="cpu")
        return values
    values = values.detach().cpu()
    try:
        return np.asarray(values)
    except TypeError:  # bfloat16: NumPy has no such type
        return np.asarray(values.float())


def _type_name(array: np.ndarray) -> str:
    if array.dtype.kind in "US":
        return "text"
    return f"{type(array.flat[0]).__name__} objects" if array.size else str(array.dtype)


@np.errstate(over="ignore")
def as_map(values: Any, name: str = "probs") -> Float[np.ndarray, "*shape"]:
    """A map as it is scored: float32, rounded once.

    Raises:
        TypeError: It is not of a float type.
    """
    array = as_array(values, name)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must be floating point, got {array.dtype}")
    return array.astype(np.float32, copy=False)


def as_mask(values: Any, name: str = "mask") -> Bool[np.ndarray, "*shape"]:
    """A mask of any number type as booleans: true where it is not 0.

    Raises:
        TypeError: It holds no numbers.
        ValueError: It holds negative numbers, fractions or NaN.
    """
    array = as_array(values, name)
    if array.dtype == bool:
        return array
    check_whole(array, name)
    return array != 0


def check_whole(array: np.ndarray, name: str, ignore_label: int | None = None) -> None:
    """Refuse fractions, NaN and negative numbers, but for a label to ignore.

    Raises:
        ValueError: There is one.
    """
    if array.dtype.kind in "bu":
        return
    if array.dtype.kind == "i":
        bad = array < 0 if array.min(initial=0) < 0 else None
    else:
        bad = ~((array >= 0) & (array == np.rint(array)) & np.isfinite(array))
    if bad is not None and ignore_label is not None:
        bad &= array != ignore_label
    if bad is not None and bad.any():
        raise ValueError(not_whole(name, array[bad].flat[0]))


def not_whole(name: str, found: Any) -> str:
    """What to say of a value that no mask and no reference may hold."""
    return (
        f"{name} must hold whole numbers, none of them negative, got {found:.6g}; what "
        "does not count goes into valid"
    )


def takes_arrays(as_map: Convert, as_mask: Convert):
    """Decorator: every map and mask that a function is given is converted, by its name.

    They lie on each other: other shapes are refused.

    Args:
        as_map: Converts the parameters named in `MAPS`.
        as_mask: Converts the parameters named in `MASKS`.
    """
    by_name = dict.fromkeys(MAPS, as_map) | dict.fromkeys(MASKS, as_mask)
    return takes(by_name, same_shape=True)


def takes(by_name: Mapping[str, Convert], *, same_shape: bool):
    """Decorator: parameters of these names are converted where they are given.

    Args:
        by_name: What converts each.
        same_shape: Refuse arrays of another shape than the first.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        convert = {n: by_name[n] for n in signature.parameters if n in by_name}

        @wraps(function)
        def converted(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            first = ""
            for name, convert_one in convert.items():
                if bound.arguments.get(name) is None:
                    continue
                array = convert_one(bound.arguments[name], name)
                if first and same_shape:
                    check_shape(array, name, bound.arguments[first].shape, first)
                first = first or name
                bound.arguments[name] = array
            return function(*bound.args, **bound.kwargs)

        return converted

    return decorate


# For functions that compute in NumPy.
takes_numpy = takes_arrays(as_map, as_mask)


def check_probabilities(
    probs: Float[np.ndarray, "*shape"], name: str = "probs", overshoot: float = 0.0
) -> None:
    """Refuse what is no probability; an empty array too.

    Args:
        probs: Values.
        name: What they are, for the message.
        overshoot: How far outside [0, 1] a value may lie.

    Raises:
        ValueError: There is NaN, or a value outside, or nothing at all.
    """
    if not probs.size:
        raise ValueError(f"{name} holds no voxel")
    low, high = float(probs.min()), float(probs.max())
    if math.isnan(low):
        n_bad = np.count_nonzero(np.isnan(probs))
        raise ValueError(f"{name}: probabilities must not be NaN, got {n_bad} that are")
    if low < -overshoot or high > 1 + overshoot:
        raise ValueError(
            f"{name}: probabilities must lie in [0, 1], got {low:.6g} to {high:.6g}"
            f"{looks_like(probs)}"
        )


def looks_like(values: Float[np.ndarray, "*shape"]) -> str:
    """What finite values that leave [0, 1] may be instead, and the way out.

    A guess for a message: empty where nothing is likely.
    """
    low, high = float(values.min()), float(values.max())
    if low < 0:
        is_logits = low < -1 or high > 1
        way = "--logits takes those of files, arrays go through a sigmoid or softmax"
        return f"; these look like logits: {way}" if is_logits else ""
    if (values == np.rint(values)).all() and len(np.unique(values)) <= _FEW_LABELS:
        return "; these look like labels: name maps of probabilities, no segmentations"
    top = next((top for top in _TOPS if 2 < high <= top), None)
    if top is None:
        return ""
    name = "percent" if top == _TOPS[0] else f"values from 0 to {top}"
    return f"; these look like {name}: divide by {top}"


def as_labels(
    values: Any, name: str = "labels", ignore_label: int | None = None
) -> Integer[np.ndarray, "*shape"]:
    """A reference as integers.

    Raises:
        TypeError: It holds text or objects.
        ValueError: It holds fractions, NaN, or negative labels other than the ignored.
    """
    array = as_array(values, name)
    check_whole(array, name, ignore_label)
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype.kind != "f":
        return array
    if array.size and array.max() >= _LABEL_LIMIT:
        raise ValueError(f"{name} must be below 2**31, got {array.max():.6g}")
    return array.astype(np.int32)


def check_labels(
    labels: Integer[np.ndarray, "*shape"],
    where: Path | str,
    expected: Sequence[int] | None,
    ignore_label: int | None = None,
) -> None:
    """Raise where a reference holds labels that nobody declared.

    Args:
        labels: The reference.
        where: Its file or name, for the message.
        expected: Labels that may occur beside 0; None allows every label >= 0.
        ignore_label: A further label that may occur.

    Raises:
        ValueError: Another label occurs.
    """
    if expected is None:
        low = int(labels.min(initial=0))
        if low < 0 and low == ignore_label:
            low = int(labels[labels != ignore_label].min(initial=0))
        if low < 0:
            raise ValueError(f"{where}: labels must not be negative, got {low}")
        return
    allowed = {0, *expected} | ({ignore_label} if ignore_label is not None else set())
    # Fast path: where no label up to the largest is missing, no table of values is made.
    if int(labels.min(initial=0)) >= 0 and all(
        k in allowed for k in range(int(labels.max(initial=0)) + 1)
    ):
        return
    found = sorted(set(np.unique(labels).tolist()) - allowed)
    if found:
        raise ValueError(
            f"{where}: unexpected label {', '.join(map(str, found[:5]))}; expected "
            f"{', '.join(map(str, sorted(allowed)))} (name regions with "
            "--region NAME=CHANNEL:LABEL, or --ignore-label; in Python regions, or "
            "ignore_label)"
        )


def as_list(values: Any, name: str) -> list[Any]:
    """The entries of a sequence by position, whatever its index says.

    Raises:
        TypeError: It is text, a table of columns, or has no order.
    """
    unordered = isinstance(values, str | bytes | Mapping | set | frozenset)
    if unordered or hasattr(values, "columns"):
        raise TypeError(
            f"{name} must be a sequence with one entry a case, got "
            f"{type(values).__name__}"
        )
    if hasattr(values, "to_pylist"):  # a column of a table
        return values.to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return list(values)
    except TypeError:
        raise TypeError(
            f"{name} must be a sequence with one entry a case, got {values!r}"
        ) from None


def normal_form(name: str) -> str:
    """A name in the one Unicode form (NFC) under which names are compared.

    File systems differ: one gives an accented letter back as letter and accent.
    """
    return unicodedata.normalize("NFC", name)


def as_names(values: Any, name: str) -> list[str]:
    """Names of cases, units, groups or raters: text or whole numbers, none missing.

    They come back in their normal form.

    Raises:
        TypeError: An entry is of another type (NaN and None are).
        ValueError: An entry is empty.
    """
    names: list[str] = []
    for i, value in enumerate(as_list(values, name)):
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool) or not isinstance(plain, str | int):
            raise TypeError(
                f"{name} must be text or whole numbers, got {value!r} for case {i}"
            )
        if not str(plain).strip():
            raise ValueError(
                f"{name} is empty for case {i}: give every case one, or none"
            )
        names.append(normal_form(str(plain)))
    return names


def as_weights(values: Any, name: str = "weights") -> list[float]:
    """Weights of cases: finite numbers of at least 0, as in a cohort file.

    Raises:
        TypeError: An entry is no number.
        ValueError: An entry is negative, infinite or NaN.
    """
    weights: list[float] = []
    for i, value in enumerate(as_list(values, name)):
        if isinstance(value, str | bytes):
            raise TypeError(f"{name} must be numbers, got {value!r} for case {i}")
        try:
            weight = float(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"{name} must be numbers, got {value!r} for case {i}"
            ) from None
        if not 0 <= weight < math.inf:
            raise ValueError(
                f"{name} must be finite and at least 0, got {value!r} for case {i}"
            )
        weights.append(weight)
    return weights


def check_shape(
    array: Any, name: str, wanted: tuple[int, ...], of: str = "probs", hint: str = ""
) -> None:
    """Refuse an array of another shape than what it lies on.

    Args:
        array: Of any library.
        name: What it is.
        wanted: Its shape.
        of: What has this shape.
        hint: What else may be the cause.

    Raises:
        ValueError: They differ.
    """
    got = tuple(np.shape(array))
    if got != tuple(wanted):
        raise ValueError(
            f"{name} has shape {got}, wanted {tuple(wanted)}, that of {of}"
            + (f"; {hint}" if hint else "")
        )


def check_lengths(columns: Mapping[str, Sequence[Any]], n_cases: int) -> None:
    """Refuse a column that has not one entry a case.

    Raises:
        ValueError: A length differs.
    """
    for name, values in columns.items():
        if len(values) != n_cases:
            raise ValueError(
                f"{name} has {len(values)} entries for {plural(n_cases, 'case')}"
            )
