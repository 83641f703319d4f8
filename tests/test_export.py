"""Every kernel, loss and step lowers for a GPU and a TPU, on a machine without them.

The functions are found, not listed. What a program must not hold on an accelerator is
looked for in it: float64, calls back to the host, scatters and sorts beyond those named.
"""

import inspect
import math
import os
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import export

from coverax import kernels, losses
from coverax.checks import MAPS, MASKS

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = ("cuda", "tpu")
SPATIAL = (12, 9, 8)
VOXELS = 12 * 9 * 8
FLAT = {"grid_counts", "cut_counts", "overlap_counts", "sizes", "order_statistics"}
MAP, MASK = jnp.float32, jnp.bool_
# A call of the program by Triton is compiled by XLA itself, of whatever version.
TRITON = "__gpu$xla.gpu.triton"
ALLOWED = [export.DisabledSafetyCheck.custom_call(TRITON)]
# What a program needs on an accelerator, and no more.
SCATTERS = {("tpu", "grid_counts"): 2, ("tpu", "score_batch"): 2}
SORTS = {(p, "cut_counts"): 1 for p in PLATFORMS}
OPTIONS = {
    "n_bins": 20,
    "n_cuts": 64,
    "tolerances": (0.1, 0.25),
    "tolerance": 0.1,
    "cut": 0.5,
    "spacing_mm": (1.0, 1.5, 2.0),
    "fwhm_mm": 3.0,
    "operation": "external",
    "neighbours": "face",
    "weights": (0.25, 0.5, 0.25),
    "border": "mirror",
}
ARRAYS = {
    "cuts": jax.ShapeDtypeStruct((3,), MAP),
    "ranks": jax.ShapeDtypeStruct((2, 3), jnp.int32),
    "values": jax.ShapeDtypeStruct((2, VOXELS), MAP),
}


def taken(function):
    return inspect.signature(function).parameters


def lowered(function, shapes, platform):
    """The program, as text; what it returns need not be known to `export`."""

    def leaves(*arrays):
        return jax.tree.leaves(function(*arrays))

    found = export.export(
        jax.jit(leaves), platforms=[platform], disabled_checks=ALLOWED
    )
    return found(*shapes).mlir_module()


def operations(text):
    return Counter(re.findall(r'"stablehlo\.(\w+)"\(', text))


def check_no_host(text):
    """Neither float64, which accelerators lack or crawl on, nor calls of Python."""
    assert not re.search("[<x]f64>", text)
    assert not re.findall(r"custom_call @\w*callback", text)


def check(text, platform, name):
    check_no_host(text)
    found = operations(text)
    assert found["scatter"] == SCATTERS.get((platform, name), 0)
    assert found["sort"] == SORTS.get((platform, name), 0)


def kernel_call(name):
    """The kernel of its arrays alone, and their shapes."""
    function = getattr(kernels, name)
    shapes, options = {}, {}
    for key, parameter in taken(function).items():
        if key in ARRAYS and name in FLAT:
            shapes[key] = ARRAYS[key]
        elif key in MAPS | MASKS or key == "values":
            shape = (2, VOXELS) if name in FLAT else (2, *SPATIAL)
            shapes[key] = jax.ShapeDtypeStruct(shape, MASK if key in MASKS else MAP)
        elif parameter.default is parameter.empty and key != "cuts":
            options[key] = OPTIONS[key]
    if name in ("overlap_counts", "mass_above"):
        shapes["cuts"] = jax.ShapeDtypeStruct((2, 3), MAP)
    if name == "score_batch":
        options |= {
            "n_soft_bins": 20,
            "n_cuts": 64,
            "sets": (kernels.SetScore("inner"),),
        }
    return lambda *a: function(**dict(zip(shapes, a, strict=True)), **options), shapes


def with_arrays():
    functions = {n: f for n, f in vars(kernels).items() if inspect.isroutine(f)}
    found = {n for n, f in functions.items() if (MAPS | MASKS) & set(taken(f))}
    # Slots are filled on the host's side of a transfer; `score_batch` runs the plan.
    return sorted(found - {"fill_slot", "run_plan"})


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", with_arrays())
def test_a_kernel_lowers_for_an_accelerator(name, platform):
    function, shapes = kernel_call(name)
    check(lowered(function, shapes.values(), platform), platform, name)


def of_maps():
    """Losses: `[batch, *spatial, classes]` twice in, one number a class out."""
    functions = {n: f for n, f in vars(losses).items() if inspect.isroutine(f)}
    return sorted(n for n, f in functions.items() if list(taken(f))[1:2] == ["targets"])


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", of_maps())
def test_a_loss_and_its_gradient_lower_for_an_accelerator(name, platform):
    function = getattr(losses, name)
    shape = jax.ShapeDtypeStruct((2, *SPATIAL, 3), MAP)

    @partial(jax.value_and_grad, argnums=0)
    def mean(probs, targets):
        return function(probs, targets).mean()

    check(lowered(mean, (shape, shape), platform), platform, name)


WITHOUT_TRITON = """
import sys
sys.modules["jax.experimental.pallas.triton"] = None  # as in a jaxlib that lacks it
import jax, numpy as np
from jax import export
from coverax import host, kernels

probs = np.random.default_rng(0).random((2, 500), np.float32)
call = jax.jit(lambda p: jax.tree.leaves(kernels.grid_counts(p, p > 0.5, 64)))
found = export.export(call, platforms=["cuda"])(jax.ShapeDtypeStruct((2, 500), "f4"))
assert "triton" not in found.mlir_module()
want = host.grid_counts(probs, probs > 0.5, 64)
for ours, theirs in zip(want, call(probs), strict=True):
    np.testing.assert_array_equal(ours, theirs)
"""


def test_without_triton_the_reductions_of_other_devices_stand_in():
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", WITHOUT_TRITON], env=environment, check=True)


NET = {"channels": [4, 6, 8]}
PATCH = (8, 4, 8)
# Rotations of augmentation are put together from their entries, a matrix a patch; nothing
# of the size of a patch is scattered, forwards or backwards.
MATRIX = 9
EVERY_PLATFORM = ("cpu", *PLATFORMS)


def scattered(text):
    """Numbers of each array that something is scattered into."""
    found = re.findall(
        r'"stablehlo.scatter"\(.*?-> tensor<([\dx]*)x\w+>', text, re.DOTALL
    )
    return [math.prod(map(int, shape.split("x"))) for shape in found]


@pytest.fixture
def net(tmp_path, monkeypatch, platform):
    """Config, model and parameters' shapes of a net as the platform has it."""
    from coverax.train.model import build_model
    from tests.train import stand_in

    known = {"cuda": "gpu"}.get(platform, platform)
    monkeypatch.setattr(jax, "default_backend", lambda: known)
    patch = {"size": list(PATCH), "batch": 2}
    config = stand_in.config_of(tmp_path, net={"sizes": NET}, patch=patch)
    model = build_model(config)
    return config, model, jax.eval_shape(model.start, 0)


@pytest.mark.parametrize("platform", EVERY_PLATFORM)
def test_a_step_of_training_lowers(net, platform):
    from coverax.train.augment import augment
    from coverax.train.step import device_mesh, make_step, start_state

    config, model, _ = net
    mesh = device_mesh(2, jax.devices()[:1])
    step = make_step(model, config, mesh, augment)
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        start_state(model, config, mesh),
    )
    batch = {
        "image": jax.ShapeDtypeStruct((2, *PATCH, 1), MAP),
        "label": jax.ShapeDtypeStruct((2, *PATCH), jnp.int32),
    }
    text = lowered(step, (state, batch), platform)
    check_no_host(text)
    assert operations(text)["sort"] == 0
    assert max(scattered(text)) <= 2 * MATRIX


@pytest.mark.parametrize("platform", EVERY_PLATFORM)
def test_a_step_of_inference_lowers(net, platform):
    from coverax.train.model import make_predict

    _, model, params = net
    images = jax.ShapeDtypeStruct((2, *PATCH, 1), MAP)
    text = lowered(make_predict(model), (params, images), platform)
    check_no_host(text)
    assert not operations(text).keys() & {"scatter", "sort", "while"}
