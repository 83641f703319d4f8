"""Finite-sample guarantees and calibration for medical image segmentation, in JAX."""

import importlib
from typing import TYPE_CHECKING

from coverax._version import __version__ as __version__

if TYPE_CHECKING:
    from coverax import calibrate as calibrate
    from coverax import convert as convert
    from coverax import doctor as doctor
    from coverax import evaluate as evaluate
    from coverax import host as host
    from coverax import kernels as kernels
    from coverax import losses as losses
    from coverax import predict as predict
    from coverax import reliability as reliability
    from coverax import report as report
    from coverax import scores as scores
    from coverax import train as train
    from coverax import validate as validate
    from coverax import verify as verify
    from coverax import volumes as volumes

__all__ = [
    "__version__",
    "calibrate",
    "convert",
    "doctor",
    "evaluate",
    "host",
    "kernels",
    "losses",
    "predict",
    "reliability",
    "report",
    "scores",
    "train",
    "validate",
    "verify",
    "volumes",
]


def __getattr__(name: str):
    """Import a subpackage on first use, so that the CLI starts without JAX."""
    if name in __all__:
        return importlib.import_module(f"coverax.{name}")
    raise AttributeError(f"module 'coverax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
