"""All devices of this process: each computes its own cases of a batch.

A batch is spread along its first axis, in equal parts; each device runs, on its part, the
very program that one device alone runs on a batch of that size, so that the bits are
those of one device. No device asks another for anything.
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Shaped

_CASES = "cases"  # the axis of the mesh

Params = ParamSpec("Params")
R = TypeVar("R")


def n_devices() -> int:
    """Devices of this process that share a batch; one where JAX was told which."""
    return 1 if _told() else jax.local_device_count()


def on_own_device(fn: Callable[Params, R]) -> Callable[Params, R]:
    """A function for other threads, on the device that JAX was told of in this one."""
    told = _told()

    @wraps(fn)
    def call(*args: Params.args, **kwargs: Params.kwargs) -> R:
        with jax.default_device(told):
            return fn(*args, **kwargs)

    return call


def _told() -> Any:
    """The device that JAX was told to use; None where nobody did."""
    return jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]


def spread(
    array: Shaped[np.ndarray, "batch *rest"],
) -> Shaped[np.ndarray, "batch *rest"] | Shaped[Array, "batch *rest"]:
    """Equal parts of a batch on all devices; as it is where there is one.

    Raises:
        ValueError: The cases cannot be shared out evenly.
    """
    if n_devices() == 1:
        return array
    if len(array) % n_devices():
        raise ValueError(f"{n_devices()} devices cannot share {len(array)} cases")
    mesh = Mesh(np.array(jax.local_devices()), (_CASES,))
    return jax.device_put(array, NamedSharding(mesh, P(_CASES)))


def per_device(
    *shared: str, static: tuple[str, ...] = ()
) -> Callable[[Callable[Params, R]], Callable[Params, R]]:
    """Decorator of a jitted function: of a batch that is spread each device has its part.

    Args:
        shared: Parameters that are the same for all cases; of the others, and of what is
            returned, the first axis is that of the cases.
        static: Parameters that are no arrays.
    """

    def decorate(jitted: Callable[Params, R]) -> Callable[Params, R]:
        signature = inspect.signature(jitted)

        @wraps(jitted)
        def call(*args: Params.args, **kwargs: Params.kwargs) -> R:
            mesh = _mesh_of(args[0]) if args else None
            if mesh is None:
                return jitted(*args, **kwargs)
            arrays = signature.bind(*args, **kwargs).arguments
            own = tuple((name, arrays.pop(name)) for name in static)
            return _on_each(
                dict(arrays), jitted=jitted, mesh=mesh, shared=shared, static=own
            )

        return call

    return decorate


@partial(jax.jit, static_argnames=("jitted", "mesh", "shared", "static"))
def _on_each(arrays: dict[str, Any], *, jitted, mesh, shared, static):
    places = {name: P() if name in shared else P(_CASES) for name in arrays}
    run = jax.shard_map(
        lambda own: jitted(**own, **dict(static)),
        mesh=mesh,
        in_specs=(places,),
        out_specs=P(_CASES),
        check_vma=False,  # programs in tiles do not say what varies
    )
    return run(arrays)


def _mesh_of(array: Any) -> Mesh | None:
    """The mesh over which a batch is spread; None where it is not."""
    if not isinstance(array, jax.Array) or isinstance(array, Tracer):
        return None
    sharding = array.sharding
    if not isinstance(sharding, NamedSharding) or sharding.spec != P(_CASES):
        return None
    mesh = sharding.mesh
    return mesh if isinstance(mesh, Mesh) and mesh.size > 1 else None
