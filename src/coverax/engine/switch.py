"""The one switch between the device kernels and their host twins."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from coverax.choices import EngineName


@dataclass(frozen=True, slots=True)
class Engine:
    """Where a batch is computed.

    Attributes:
        name: `host` or `device`.
        ops: `coverax.host` or `coverax.kernels`: the same functions, the same answers.
    """

    name: Literal["host", "device"]
    ops: ModuleType

    def __reduce__(self) -> Any:
        """By name: modules do not travel to other processes."""
        return resolve_engine, (self.name,)

    @property
    def is_device(self) -> bool:
        """Whether cases are padded and batched for jitted kernels."""
        return self.name == "device"

    @property
    def xp(self) -> ModuleType:
        """NumPy, or its namesake for what is traced into a program."""
        return importlib.import_module("jax.numpy" if self.is_device else "numpy")


def resolve_engine(name: EngineName = "auto") -> Engine:
    """Choose the engine: `auto` is the device where there is an accelerator.

    Raises:
        ValueError: The name is not one of `auto`, `host`, `device`.
    """
    if name not in ("auto", "host", "device"):
        raise ValueError(f"engine must be auto, host or device, got {name!r}")
    if name == "auto":
        import jax

        name = "host" if jax.default_backend() == "cpu" else "device"
    module = "coverax.host" if name == "host" else "coverax.kernels"
    return Engine(name, importlib.import_module(module))
