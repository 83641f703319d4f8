"""Several devices share the batches: every one works, and the bits are those of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tests.synthetic import write_cohort

ROOT = Path(__file__).resolve().parents[2]
N_DEVICES = 4

# With cases that fill no round of batches: 11 of one bucket in batches of 2 a device.
ON_FOUR = """
import json, sys
import jax, numpy as np
from coverax import kernels
from coverax.cli.app import run
from coverax.kernels import batching
batching.BATCH_VOXELS = 1 << 13
seen, program = [], kernels.run_plan

def watched(*args, **options):
    found = program(*args, **options)
    shards = found.sizes.n_voxels.addressable_shards
    filled = {s.device.id: bool((np.asarray(s.data) > 0).any()) for s in shards}
    seen.append([filled.get(k) for k in range(4)])
    return found

kernels.run_plan = watched
for name, device in (("four", None), ("one", jax.local_devices()[2])):
    for line in sys.argv[1:]:
        with jax.default_device(device):
            assert run(line.replace("OUT", name).split()) == 0, line
    print(json.dumps(seen))
    seen.clear()
"""
LINES = [
    "score --probs probs --labels labels --engine device --curves --set-sizes "
    "--transform inner=smooth --transform outer=surface --transform outer=boxes "
    "--tolerance .1 --tolerance .3 -o OUT.parquet",
    "calibrate OUT.parquet --alpha .4 --tolerance .1 -o OUT.json",
    "evaluate OUT.json --probs new/probs --labels new/labels --engine device -o OUT",
    "calibrate OUT.parquet --alpha .5 --method sets --inner smooth --outer surface "
    "-o OUT_sets.json",
    "evaluate OUT_sets.json --probs new/probs --labels new/labels -o OUT_sets",
]
WRITTEN = ["{}.parquet", "{}/cases.csv", "{}_sets/cases.csv"]


@pytest.fixture(scope="module")
def on_four(tmp_path_factory):
    """Which devices had cases, a batch each, with four devices and with one."""
    root = tmp_path_factory.mktemp("devices")
    write_cohort(root, 11, (9, 8, 7), 60, seed=0)
    write_cohort(root / "new", 5, (9, 8, 7), 60, seed=1)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",  # bits are claimed of what users run
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={N_DEVICES}",
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR, *LINES],
        cwd=root,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return root, *map(json.loads, found)


@pytest.mark.slow
def test_every_device_works_and_a_remainder_is_nobodys_loss(on_four):
    _, four, one = on_four
    whole, rest = sorted(four[:2], reverse=True)  # both are under way at once
    assert whole == [True] * N_DEVICES  # 8 of 11 cases
    assert rest == [True, True, False, False]  # the other 3
    assert all(batch == [None, None, True, None] for batch in one)  # that it was told
    assert len(one) > len(four)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_that_of_one_device_to_the_byte(on_four, name):
    root = on_four[0]
    four, one = ((root / name.format(n)).read_bytes() for n in ("four", "one"))
    assert four == one


def test_on_one_device_nothing_is_moved():
    from coverax.kernels import n_devices, spread

    assert n_devices() == 1
    array = np.zeros((3, 4), np.float32)
    assert spread(array) is array


def test_cases_that_cannot_be_shared_out_are_refused(monkeypatch):
    from coverax.kernels import spread

    monkeypatch.setattr(jax, "local_device_count", lambda: N_DEVICES)
    with pytest.raises(ValueError, match="4 devices cannot share 3 cases"):
        spread(np.zeros((3, 2), np.float32))
