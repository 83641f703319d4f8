"""Mutated NIfTI headers and streams: values, or one line that names the file."""

import gzip
import tracemalloc
from functools import lru_cache

import nibabel as nib
import numpy as np
import pytest

from coverax.volumes import read_labels, read_probs, read_valid

# Of every byte a reader holds at once: a deflate bomb of a few kB, and the reader itself.
MOST_BYTES = 1 << 25
EXTREMES = [0, 1, -1, 2, 7, 8, 255, 348, 540, 2**15 - 1, -(2**15), 2**31 - 1, 2**40]
FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e30, 1e300, np.inf, -np.inf, np.nan, 0.5, 2**40]
N_SEEDS = 12


def probs(reader):
    assert 0 <= reader.probs.min() <= reader.probs.max() <= 1


def whole(reader):
    assert reader[0].dtype.kind in "iub"


READERS = {
    "probs": (lambda p: read_probs(p, channels=[0]), probs),
    "logits": (lambda p: read_probs(p, channels=[0], logits=True), probs),
    "labels": (read_labels, whole),
    "valid": (read_valid, whole),
}


@lru_cache
def sound(seed):
    """Bytes of a sound file, its fields and their byte order; kinds by turns."""
    rng = np.random.default_rng(seed)
    image = (nib.Nifti1Image, nib.Nifti2Image)[seed % 2]
    order = "<>"[seed // 2 % 2]
    dtype = (np.float32, np.uint8, np.int16, np.float64)[seed % 4]
    shape = ((5, 4, 3), (5, 4, 3, 2), (6, 5))[seed % 3]
    values = (
        rng.random(shape)
        if dtype in (np.float32, np.float64)
        else rng.random(shape) < 0.5
    )
    header = image.header_class(endianness="big" if order == ">" else "little")
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    made = image(values.astype(np.dtype(dtype).newbyteorder(order)), None, header)
    made.set_qform(np.diag([1.0, 1.5, 2.0, 1.0]), seed % 2)
    made.set_sform(np.diag([1.0, 1.5, 2.0, 1.0]), seed // 2 % 2)
    if seed % 5 == 0:
        made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 40))
    return made.to_bytes(), made.header.template_dtype.newbyteorder(order)


def with_field(data, fields, rng):
    """One entry of a header field set to an extreme value."""
    name = rng.choice(fields.names)
    kind, offset = fields.fields[name][:2]
    entry = kind.base
    place = offset + entry.itemsize * int(
        rng.integers(max(1, int(np.prod(kind.shape))))
    )
    if entry.kind == "f":
        with np.errstate(over="ignore"):
            value = np.array(rng.choice(FLOATS)).astype(entry)
    elif entry.kind in "iu":
        with np.errstate(over="ignore"):
            value = np.array(int(rng.choice(EXTREMES))).astype(entry)
    else:
        value = np.frombuffer(rng.bytes(entry.itemsize), entry)
    raw = value.tobytes()
    return data[:place] + raw + data[place + len(raw) :]


def with_flips(data, _fields, rng, within=600):
    data = bytearray(data)
    for place in rng.integers(0, max(1, min(within, len(data))), rng.integers(1, 6)):
        data[place : place + 1] = bytes([rng.integers(256)])
    return bytes(data)


def shortened(data, _fields, rng):
    return data[: rng.integers(len(data) + 1)]


def shifted(data, _fields, rng):
    place, n = rng.integers(len(data) + 1), rng.integers(1, 40)
    kept = place + (n if rng.random() < 0.5 else 0)
    return data[:place] + rng.bytes(n) + data[kept:]


def doubled(data, _fields, rng):
    return data + (data if rng.random() < 0.5 else rng.bytes(rng.integers(1, 999)))


MUTATIONS = (with_field, with_field, with_flips, shortened, shifted, doubled)


def mutated(rng):
    """Bytes of one mutated file and the suffix it goes under."""
    data, fields = sound(int(rng.integers(N_SEEDS)))
    for _ in range(rng.integers(1, 4)):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](data, fields, rng)
    if rng.random() < 0.5:
        return data, ".nii"
    data = gzip.compress(data, int(rng.integers(10)), mtime=0)
    if rng.random() < 0.4:  # the stream itself
        change = (with_flips, shortened, shifted, doubled)[rng.integers(4)]
        data = change(data, None, rng)
    return data, ".nii.gz" if rng.random() < 0.97 else ".nii"


def check(path, name):
    """Read a file; whatever is wrong is one line that names it. Whether it was read."""
    read, right = READERS[name]
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    line = None
    try:
        right(read(path))
    except ValueError as error:
        line = str(error)
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < MOST_BYTES
    assert line is None or (str(path) in line and "\n" not in line)
    return line is None


def run(folder, n, seed):
    """How many of `n` mutated files could be read."""
    rng = np.random.default_rng(seed)
    names, n_read = list(READERS), 0
    tracemalloc.start()
    try:
        for i in range(n):
            data, suffix = mutated(rng)
            path = folder / f"fuzz{suffix}"
            path.write_bytes(data)
            try:
                n_read += check(path, names[i % len(names)])
            except BaseException:
                (folder / f"found{i}{suffix}").write_bytes(data)
                raise
    finally:
        tracemalloc.stop()
    return n_read


@pytest.mark.parametrize(
    "n", [1500, pytest.param(20_000, marks=pytest.mark.slow)], ids=str
)
def test_a_mutated_file_is_read_or_refused_in_one_line(tmp_path, n):
    n_read = run(tmp_path, n, seed=n)
    assert 0.02 * n < n_read < 0.98 * n  # both ends of the readers were met


@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_what_is_mutated_was_sound(tmp_path, seed):
    data, _ = sound(seed)
    (tmp_path / "a.nii").write_bytes(data)
    probs(read_probs(tmp_path / "a.nii", channels=[0]))
