"""Scoring from each form of a map against only inflating it; `import nnunet` beside.

    python -m benchmarks.formats [--size tiny|full] [--rounds 5] [--threads 2]

Full size: 200 cases of 35x50x35 and 64 of 64x128x128, three classes, as softmax of
nnU-Net (`.npz` with `.pkl` and segmentation), uint16 and float32 `.nii.gz`; some minutes
on two cores, and 1 GB of disk. Files are in the cache of the system. Inflating reads every
byte of every file that scoring reads: map, segmentation beside it, reference.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from tests import nnunet_files

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax.scores import ScoreDefinition, score_cohort
from coverax.volumes import find_results, match_folders, parse_regions, write_results
from coverax.volumes.npz import read_npz_header

SIZES = {
    "tiny": ([(3, (12, 16, 10))], 20),
    "full": ([(200, (35, 50, 35)), (64, (64, 128, 128))], 1000),
}
REGIONS = parse_regions(["organ=1:1", "lesion=2:2"])


def smooth_softmax(shape, rng):
    """Three classes as a net is sure of them: flat far from two balls, noisy near."""
    place = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"))
    logits = np.zeros((3, *shape), np.float32)
    for channel, radius in ((1, 0.3), (2, 0.15)):
        centre = rng.uniform(0.35, 0.65, (3, 1, 1, 1))
        distance = np.sqrt(((place - centre) ** 2).sum(0))
        logits[channel] = 40 * (radius - distance)
    noise = rng.normal(0, 0.5, logits.shape).astype(np.float32)
    e = np.exp(logits + noise - logits.max(0))
    return (e / e.sum(0)).astype(np.float32)


def make(root, n_cases, shape):
    """The same maps in three forms, and references."""
    rng = np.random.default_rng(0)
    nnunet_files.write_dataset(root / "npz")
    for name in ("float32", "uint16"):
        (root / name).mkdir()
    for i in range(n_cases):
        probs = smooth_softmax(shape, rng)
        nnunet_files.write_case(root / "npz", f"c{i:03}", probs)
        volume = np.moveaxis(probs, 0, -1)
        image = nib.Nifti1Image(volume, nnunet_files.OBLIQUE)
        nib.save(image, root / f"float32/c{i:03}.nii.gz")
        image = nib.Nifti1Image(np.rint(volume * 65535).astype(np.uint16), image.affine)
        image.header.set_slope_inter(1 / 65535, 0)
        nib.save(image, root / f"uint16/c{i:03}.nii.gz")
        labels = np.argmax(probs + rng.normal(0, 0.05, probs.shape), 0)
        nnunet_files.write_reference(root / "labels", f"c{i:03}", labels)


def inflate(path):
    """Every byte of a file, inflated by isal and dropped."""
    if path.suffix != ".npz":
        with igzip.open(path, "rb") as stream:
            while stream.read(1 << 22):
                pass
        return
    array = read_npz_header(path, ["probabilities"])
    data = path.read_bytes()
    start = (
        30
        + int.from_bytes(data[26:28], "little")
        + int.from_bytes(data[28:30], "little")
    )
    inflater = isal_zlib.decompressobj(wbits=-15)
    n_bytes = len(inflater.decompress(data[start:]))
    assert n_bytes > array.start


def files_of(root, form):
    maps = sorted((root / form).glob("*.npz" if form == "npz" else "*.nii.gz"))
    beside = sorted((root / form).glob("*.nii.gz")) if form == "npz" else []
    return [*maps, *beside, *sorted((root / "labels").iterdir())]


def score(root, form, threads):
    cohort = match_folders(root / form, root / "labels")
    definition = ScoreDefinition(regions=REGIONS)
    return score_cohort(cohort, definition, engine="host", threads=threads)


def inflate_all(paths, threads):
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(inflate, paths))


def measure(n_cases, shape, rounds, threads):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, n_cases, shape)
        forms = ("npz", "uint16", "float32")
        same = [score(root, form, threads).rows_digest for form in ("npz", "float32")]
        assert len(set(same)) == 1, "the forms do not score alike"
        runs = {}
        for form in forms:
            paths = files_of(root, form)
            runs[form, "score"] = lambda f=form: score(root, f, threads)
            runs[form, "inflate"] = lambda p=paths: inflate_all(p, threads)
        seconds = interleaved(runs, rounds)
        sizes = {f: sum(p.stat().st_size for p in files_of(root, f)) for f in forms}
    ms = {k: 1e3 * statistics.median(v) / n_cases for k, v in seconds.items()}
    return [
        [
            f"{n_cases} x {'x'.join(map(str, shape))}",
            form,
            f"{sizes[form] / n_cases / 1e6:.2f}",
            f"{ms[form, 'score']:.2f}",
            f"{ms[form, 'inflate']:.2f}",
            f"{ratio(seconds[form, 'score'], seconds[form, 'inflate']):.2f}",
        ]
        for form in forms
    ]


def measure_import(n_cases):
    """Seconds to list results of so many cases, and write their cohort."""
    with tempfile.TemporaryDirectory() as folder:
        results, labels = nnunet_files.cohort(Path(folder), 1)
        for path in [*results.glob("c0.*"), *labels.glob("c0.*")]:
            for i in range(1, n_cases):
                path.with_name(path.name.replace("c0", f"c{i}")).write_bytes(
                    path.read_bytes()
                )
        start = time.perf_counter()
        found = find_results(results, labels)
        write_results(found, Path(folder) / "cohort.csv")
        assert len(found.cases) == n_cases
        return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    cohorts, n_imported = SIZES[args.size]
    load = os.getloadavg()[0]
    rows = [row for c in cohorts for row in measure(*c, args.rounds, args.threads)]
    seconds = measure_import(n_imported)
    header = [
        "cases",
        "form",
        "MB a case",
        "score, ms",
        "inflate, ms",
        "score / inflate",
    ]
    text = "\n".join(
        [
            f"`python -m benchmarks.formats --size {args.size}`, {date.today()}, "
            f"{machine()}; load before it {load:.1f}",
            "",
            f"{args.threads} threads, ms a case, medians of {args.rounds}; three classes, "
            "two regions. Bytes and inflating count map, segmentation beside it and "
            "reference.",
            "",
            markdown(header, rows),
            "",
            f"`import nnunet` of {n_imported} cases: {seconds:.2f} s.",
        ]
    )
    save("formats" if args.size == "full" else "formats_tiny", text)


if __name__ == "__main__":
    main()
