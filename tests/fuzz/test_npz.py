"""Mutated archives and pickles: values, or one line that names the file."""

import io
import pickle
import tracemalloc
import zipfile
from functools import lru_cache

import numpy as np
import pytest

from coverax.volumes import read_header, read_voxels
from coverax.volumes.pickles import plain, read_plain_pickle
from tests import nnunet_files as made

# Of every byte a reader holds at once: a deflate bomb of a few kB, and the reader itself.
MOST_BYTES = 1 << 25
N_SEEDS = 12
N_MUTANTS = 25
_SLOW = pytest.mark.slow
SEEDS = [*range(N_SEEDS), *(pytest.param(seed, marks=_SLOW) for seed in range(12, 200))]
# Where a zip keeps its sizes and places, from the end of the directory or its entries.
EXTREMES = [0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1]


@lru_cache
def archive(seed):
    """Bytes of a sound archive: stored or deflated, of any type, C or Fortran."""
    dtype = (np.float16, np.float32, np.float64)[seed % 3]
    values = made.softmax(seed).astype(dtype).transpose(0, 3, 2, 1)
    if seed % 5 == 0:
        values = np.asfortranarray(values)
    stream = io.BytesIO()
    (np.savez, np.savez_compressed)[seed % 2](stream, probabilities=values)
    return stream.getvalue()


@lru_cache
def sound_pickle(seed):
    kind = ("sitk", "nibabel", "reorient")[seed % 3]
    about = made.properties(made.OBLIQUE, kind, made.OBLIQUE)
    return pickle.dumps(about, protocol=2 + seed % 4)


def mutated(data, rng):
    """One of: a byte, a run, a word of the extremes, a cut, a piece twice."""
    data = bytearray(data)
    place = int(rng.integers(len(data)))
    match int(rng.integers(6)):
        case 0:
            data[place] ^= 1 << int(rng.integers(8))
        case 1:
            data[place : place + 4] = int(rng.choice(EXTREMES)).to_bytes(4, "little")
        case 2:
            del data[place:]
        case 3:
            data[place:place] = data[place : place + 9]
        case 4:  # the directory, which says how much there is
            back = min(len(data), int(rng.integers(1, 120)))
            data[-back] = int(rng.integers(256))
        case _:  # the header of the array
            head = data.find(b"{'descr'")
            if head >= 0:
                data[head + int(rng.integers(70))] = int(rng.integers(32, 127))
    return bytes(data)


def checked(path, read):
    """A value, or one line that names the file; never much memory."""
    tracemalloc.start()
    try:
        return read(path)
    except ValueError as error:
        text = str(error)
        assert path.stem in text
        assert len(text.splitlines()) == 1
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_BYTES


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_archive_is_a_map_or_one_line(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = made.write_case(tmp_path, "case", made.softmax(seed))
    path.with_suffix(".nii.gz").unlink()
    for _ in range(N_MUTANTS):
        path.write_bytes(mutated(archive(seed), rng))
        checked(path, read_header)
        found = checked(path, read_voxels)
        if found is not None:  # what passed its checksum is what was written
            expected = np.load(io.BytesIO(archive(seed)))["probabilities"]
            np.testing.assert_array_equal(found[1], expected.reshape(3, -1))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_pickle_is_plain_data_or_one_line(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = made.write_case(tmp_path, "case", made.softmax(0))
    path.with_suffix(".nii.gz").unlink()

    def read(pickled):
        content = read_plain_pickle(pickled)
        try:
            return plain(content["spacing"])
        except (LookupError, TypeError, ValueError):  # is no dictionary of them
            return None

    for _ in range(N_MUTANTS):
        path.with_suffix(".pkl").write_bytes(mutated(sound_pickle(seed), rng))
        checked(path.with_suffix(".pkl"), read)
        checked(path, read_header)


@pytest.mark.parametrize("opcode", range(256))
def test_every_opcode_of_a_pickle_is_harmless(tmp_path, opcode):
    """A frame of a lone opcode, with enough behind it to be read as its argument."""
    path = tmp_path / "case.pkl"
    for tail in (b"", b"os\nsystem\n.", b"\x04\x00\x00\x00abcd.", b"\xff" * 9 + b"."):
        path.write_bytes(b"\x80\x04" + bytes([opcode]) + tail)
        checked(path, read_plain_pickle)


def test_a_pickle_that_promises_memory_is_not_believed(tmp_path):
    path = tmp_path / "case.pkl"
    for start in (b"\x8e", b"\x8d", b"\x96"):  # bytes, text and a bytearray of 8 bytes
        path.write_bytes(b"\x80\x05" + start + (1 << 40).to_bytes(8, "little") + b"a.")
        assert checked(path, read_plain_pickle) is None
    path.write_bytes(b"\x80\x04Nr\xff\xff\xff\x0f.")  # a far memo entry
    assert checked(path, read_plain_pickle) is None


def test_no_pickle_changes_what_the_next_one_means(tmp_path):
    path = tmp_path / "case.pkl"
    state = b"\x80\x02cnumpy\nndarray\nN}X\x04\x00\x00\x00madeK\x01s\x86b."
    path.write_bytes(state)
    with pytest.raises(ValueError, match=r"case\.pkl: not a sound pickle"):
        read_plain_pickle(path)


@pytest.mark.parametrize("n", [1 << 20, 1 << 34])
def test_a_bomb_is_not_inflated(tmp_path, n):
    """Zeros that deflate to a thousandth, behind a directory that tells the truth."""
    path = tmp_path / "case.npz"
    if n > 1 << 20:  # only said, in header and directory alike
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            with target.open("probabilities.npy", "w") as member:
                head = {"descr": "<f4", "fortran_order": False, "shape": (2, n, 1, 1)}
                np.lib.format.write_array_header_1_0(member, head)
                member.write(bytes(1 << 16))
            target.infolist()[0].file_size = 8 * n + 128
    else:
        np.savez_compressed(path, probabilities=np.zeros((2, n, 1, 1), np.float32))
    assert checked(path, read_header) is None  # no geometry, or not believed
