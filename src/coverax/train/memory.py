"""What to change when the memory is not enough, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def out_of_memory(advice: str) -> Iterator[None]:
    """Make running out of memory, on the host or a device, an error with advice.

    Raises:
        ValueError: It ran out; the text is the advice.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        is_memory = isinstance(error, MemoryError)
        if not (is_memory or "RESOURCE_EXHAUSTED" in str(error)):
            raise
        raise ValueError(advice) from error
