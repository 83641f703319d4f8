"""Programs of a net: convolutions on all cores of a CPU, the compiler's memory given back."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
from jax.core import Tracer

# The library that the compiler prefers runs a convolution on one core. It keeps products
# and sums, where it is as fast or faster.
_PRODUCTS_AND_SUMS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


@cache
def net_options() -> dict[str, str] | None:
    """What the compiler is told of a program that holds a net; None: nothing.

    Nothing on accelerators, and nothing to a compiler that does not know the option.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_PRODUCTS_AND_SUMS)()
    except jax.errors.JaxRuntimeError:
        return None
    return _PRODUCTS_AND_SUMS


def give_back_freed() -> None:
    """Give back to the system what is freed: glibc keeps some 300 MiB of a compiler's."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)


class NetProgram:
    """A function that runs a net, compiled; inside another program it is a part of it.

    `jax.jit` with what `net_options` says, which it takes of whole programs alone.
    """

    def __init__(self, function: Callable[..., Any], **options: Any):
        self._function = function
        self._compiled = jax.jit(function, compiler_options=net_options(), **options)
        self._shapes: set[Any] = set()  # of the calls that were compiled

    def __call__(self, *trees: Any) -> Any:
        """Run it."""
        leaves = jax.tree.leaves(trees)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._function(*trees)
        shapes = tuple(jax.numpy.shape(leaf) for leaf in leaves)
        found = self._compiled(*trees)
        if shapes not in self._shapes:
            self._shapes.add(shapes)
            give_back_freed()
        return found

    def lower(self, *trees: Any) -> Any:
        """The program before it is compiled."""
        return self._compiled.lower(*trees)
