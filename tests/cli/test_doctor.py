"""`doctor` names a kernel that is wrong and says what to do; `score` writes nothing then."""

import numpy as np
import pytest

from coverax import kernels
from coverax.doctor.compare import CALLS


@pytest.fixture
def few(monkeypatch):
    """Two kernels, for speed; tests/doctor compares all of them."""
    own = {name: CALLS[name] for name in ("sizes", "grid_counts")}
    monkeypatch.setattr("coverax.doctor.compare.CALLS", own)


@pytest.fixture
def wrong_sizes(monkeypatch):
    """A compiler that counts one voxel too many in one case."""
    sizes = kernels.sizes

    def miscounted(*args, **options):
        found = sizes(*args, **options)
        return found._replace(
            n_foreground=found.n_foreground + np.eye(1, 4, 1, dtype=int)[0]
        )

    monkeypatch.setattr(kernels, "sizes", miscounted)


def test_doctor_says_what_is_there(cli, few):
    done = cli("doctor")
    assert done.code == 0
    for line in (
        "coverax ",
        "jax ",
        "sizes: as the host",
        "--engine auto takes the host",
    ):
        assert line in done.out
    content = cli("doctor", "--json").json
    assert content["is_right"]
    assert content["platform"] == "cpu"
    assert content["advice"] == ""
    assert 0 < content["speed"]["copy_seconds"] < content["speed"]["pass_seconds"]


def test_doctor_names_a_wrong_kernel_and_says_what_to_do(cli, few, wrong_sizes):
    done = cli("doctor", "--json")
    assert done.code == 1
    same = {each["kernel"]: each["same"] for each in done.json["kernels"]}
    assert same == {"sizes": False, "grid_counts": True}
    (differs,) = [each["differs"] for each in done.json["kernels"] if each["differs"]]
    assert differs == "n_foreground: 1 of 4 numbers, by up to 1"
    assert done.errors == [
        "error: sizes: other results than the host: score with --engine host, and try "
        "another version of jax or its plugin"
    ]
