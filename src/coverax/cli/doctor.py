"""`coverax doctor`: is the device engine right and fast on this machine."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from coverax.cli.common import AsJson
from coverax.cli.terminal import print_json, results

if TYPE_CHECKING:
    from coverax.doctor import Examination

NAME = "doctor"


def command(as_json: AsJson = False) -> None:
    """Compare every kernel of the device with the host, to the bit, and time a batch."""
    from coverax.doctor import examine_device

    found = examine_device()
    if as_json:
        print_json(_content(found))
    else:
        _show(found)
    if not found.is_right:
        raise ValueError(found.advice)


def _content(found: "Examination") -> dict[str, Any]:
    return asdict(found) | {
        "is_right": found.is_right,
        "kernels": [compared._asdict() for compared in found.kernels],
        "speed": found.speed._asdict(),
    }


def _show(found: "Examination") -> None:
    out, speed = results(), found.speed
    for name, version in found.versions.items():
        out.print(f"{name} {version}", highlight=False)
    for device in found.devices:
        memory = ""
        if device.memory_bytes is not None and device.free_bytes is not None:
            gb, free = device.memory_bytes / 1e9, device.free_bytes / 1e9
            memory = f", {free:.1f} of {gb:.1f} GB free"
        out.print(f"{device.name}: {device.kind}{memory}", highlight=False)
    for kernel, same, differs in found.kernels:
        out.print(f"{kernel}: {'as the host' if same else differs}", highlight=False)
    out.print(
        f"{speed.n_voxels:,} voxels: to the device {1e3 * speed.transfer_seconds:.3g} ms, "
        f"copied there {1e3 * speed.copy_seconds:.3g} ms, scored "
        f"{1e3 * speed.pass_seconds:.3g} ms (the copy is {speed.copy_share:.2f} of it)",
        highlight=False,
    )
    out.print(f"--engine auto takes the {found.engine} engine", highlight=False)
    if found.is_right and found.advice:
        out.print(found.advice, highlight=False)
