"""Is the device engine right and fast here: versions, devices, kernels, seconds."""

import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax

from coverax._version import __version__
from coverax.doctor.compare import Compared, compare_kernels
from coverax.doctor.speed import Speed, measure_speed

# What brings an accelerator to JAX, by the name of its package.
_PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin", "jax-rocm7-plugin", "libtpu")


@dataclass(frozen=True, slots=True)
class Device:
    """A device of this process.

    Attributes:
        name: What JAX calls it.
        kind: The card, or `cpu`.
        memory_bytes: What JAX may use of its memory; None where it does not say.
        free_bytes: What of that is free.
    """

    name: str
    kind: str
    memory_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found.

    Attributes:
        versions: Version of each package, of Python, and of the platform's runtime.
        platform: `cpu`, `gpu` or `tpu`.
        engine: What `--engine auto` takes here.
        devices: Devices that share batches.
        kernels: Each against its host twin.
        speed: Seconds of a batch.
        advice: What to do, one line; empty where there is nothing to do.
    """

    versions: dict[str, str]
    platform: str
    engine: str
    devices: list[Device]
    kernels: list[Compared]
    speed: Speed
    advice: str

    @property
    def is_right(self) -> bool:
        """Whether the device found all that the host found."""
        return all(compared.same for compared in self.kernels)


def examine_device() -> Examination:
    """Compare every kernel with its host twin on the devices of this process, and time it.

    Counts, order statistics and sums have to agree to the bit, logarithms, smoothed maps
    and distances to their rounding. A kernel that fails is one that differs.
    """
    found = compare_kernels()
    backend = jax.default_backend()
    return Examination(
        versions=_versions(),
        platform=backend,
        engine="host" if backend == "cpu" else "device",
        devices=[_device(device) for device in jax.local_devices()],
        kernels=found,
        speed=measure_speed(),
        advice=_advice(found, backend),
    )


def _versions() -> dict[str, str]:
    packages = ("jax", "jaxlib", "numpy", *_plugins())
    runtime = str(jax.local_devices()[0].client.platform_version)
    return {
        "coverax": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "runtime": " ".join(runtime.split()),
    }


def _plugins() -> list[str]:
    """Packages that are installed for an accelerator."""
    names = {str(d.metadata["Name"]).lower() for d in metadata.distributions()}
    return [name for name in _PLUGINS if name in names]


def _device(device: Any) -> Device:
    memory = device.memory_stats() or {}
    limit = memory.get("bytes_limit")
    free = None if limit is None else limit - memory.get("bytes_in_use", 0)
    return Device(str(device), device.device_kind, limit, free)


def _advice(found: list[Compared], backend: str) -> str:
    wrong = [compared.kernel for compared in found if not compared.same]
    if wrong:
        return (
            f"{', '.join(wrong)}: other results than the host: score with --engine host, "
            "and try another version of jax or its plugin"
        )
    if backend == "cpu" and _plugins():
        return (
            f"{_plugins()[0]} is installed and JAX finds no accelerator: look at its "
            "driver, and at JAX_PLATFORMS and CUDA_VISIBLE_DEVICES"
        )
    return ""
