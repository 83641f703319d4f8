"""Every form of `temperature fit` on the same patients, and the same fits by Fiducio.

    python -m benchmarks.recalibrate [--size tiny|full] [--voxels 10000]

Full size: every second of 200 hippocampi (out-of-sample U-Net maps) fits, all their voxels,
and the others judge; needs ../shared/data and a few minutes on two cores. Fiducio 0.2.0
(PyPI, with PyTorch; no dependency of coverax) must be importable for the comparison, on
`--voxels` of each case for both, and is left out with a line where it is not. Times are the
least of three fits each, in turn. Tiny: maps of noise.
"""

import argparse
import importlib.util
import os
import time
from datetime import date
from typing import NamedTuple

import numpy as np

from benchmarks.common import machine, markdown, save
from benchmarks.reliability import softmax_case
from benchmarks.sets import hippocampus_classes
from coverax.reliability import (
    apply_affine,
    apply_by_class,
    apply_ordered,
    apply_temperature,
    compare,
    logits_of,
)
from coverax.reliability.affine import fit_affine
from coverax.reliability.least import Voxels
from coverax.reliability.ordered import fit_ordered, ordered_sample
from coverax.reliability.temperature import fit_samples, sample_of
from coverax.scores import score_arrays
from coverax.volumes import Region

REGIONS = (Region("anterior", (1,), (1,)), Region("posterior", (2,), (2,)))
FORMS = ("temperature", "order-preserving", "vector", "matrix")
# Fiducio's class of the same fit, and whether it has a fit for each class that wins.
PEERS = (
    ("temperature", False, "TemperatureScaling"),
    ("vector", False, "VectorScaling"),
    ("matrix", False, "MatrixScaling"),
    ("matrix", True, "ClassConditionalMatrixScaling"),
    ("order-preserving", True, "OrderPreservingMatrixScaling"),
)
N_LBFGS = 100
N_TURNS = 3


class Drawn(NamedTuple):
    """A case: logits `[classes, voxels]` and labels."""

    logits: np.ndarray
    labels: np.ndarray


class Fitted(NamedTuple):
    """A function of a map, classes last; the mean log loss of its fit, and seconds."""

    apply: object
    nll: float
    seconds: float


def voxels_of(maps, most=None, seed=0):
    """Voxels of each case to fit on, at most so many."""
    rng = np.random.default_rng(seed)
    for probs, labels in maps:
        flat, y = probs.reshape(-1, probs.shape[-1]), labels.ravel()
        if most is not None and y.size > most:
            kept = np.sort(rng.choice(y.size, most, replace=False))
            flat, y = flat[kept], y[kept]
        yield Drawn(logits_of(flat.T.astype(np.float32)), y.astype(np.int64))


def ours(cases, form, by_class):
    """The fit that `temperature fit` makes."""
    start = time.perf_counter()
    make = {"temperature": sample_of, "order-preserving": ordered_sample}.get(
        form, Voxels
    )
    n_classes = len(cases[0].logits)
    fits, sizes = [], []
    for k in range(n_classes if by_class else 1):
        own = [
            (case.logits[:, won], case.labels[won])
            for case in cases
            for won in [case.logits.argmax(0) == k if by_class else slice(None)]
        ]
        samples = [make(z, y) for z, y in own]
        sizes.append(sum(y.size for _, y in own))
        if form == "temperature":
            fits.append(fit_samples(samples))
        elif form == "order-preserving":
            fits.append(fit_ordered(samples))
        else:
            fits.append(fit_affine(samples, diagonal=form == "vector"))
        if fits[-1].status != "OK":
            raise RuntimeError(f"{form}: {fits[-1].sentence}")
    seconds = time.perf_counter() - start
    nll = float(np.average([fit.nll_after for fit in fits], weights=sizes))

    def apply(probs):
        if form == "temperature":
            each = [fit.temperature for fit in fits]
            return (
                apply_by_class(probs, each)
                if by_class
                else apply_temperature(probs, *each)
            )
        if form == "order-preserving":
            factors = np.array([fit.factors for fit in fits])
            return apply_ordered(probs, factors if by_class else factors[0])
        weights = np.array([fit.weights for fit in fits])
        return apply_affine(probs, weights if by_class else weights[0])

    return Fitted(apply, nll, seconds)


def theirs(cases, name, by_class):
    """The same by Fiducio, with its second-order steps."""
    import fiducio
    import torch

    logits = torch.from_numpy(
        np.concatenate([case.logits for case in cases], axis=1).T.astype(np.float32)
    )
    labels = torch.from_numpy(np.concatenate([case.labels for case in cases]))
    own = {"independent_experts": True} if by_class else {}
    made = getattr(fiducio, name)(
        optimizer="lbfgs", max_iter=N_LBFGS, input_type="logits", **own
    )
    start = time.perf_counter()
    made.fit(logits, labels)
    seconds = time.perf_counter() - start

    def transformed(rows):
        with torch.no_grad():
            return made.transform(torch.from_numpy(rows)).numpy()

    truth = np.concatenate(
        [
            transformed(case.logits.T.astype(np.float32))[
                np.arange(case.labels.size), case.labels
            ]
            for case in cases
        ]
    )

    def apply(probs):
        rows = logits_of(probs.reshape(-1, probs.shape[-1])).astype(np.float32)
        return transformed(rows).reshape(probs.shape)

    return Fitted(apply, float(-np.log(np.maximum(truth, 2.0**-24)).mean()), seconds)


class Judged(NamedTuple):
    """A calibrator on new cases: its table beside that of the maps, and labels changed."""

    found: object
    changed: float

    def ace(self):
        """Mean over the parts."""
        return np.mean([self.found.regions[r.name]["ace"].second for r in REGIONS])

    def paired(self, region, measure, digits):
        """A difference with its interval."""
        own = self.found.regions[region][measure]
        low, high = own.interval
        return f"{own.difference:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table_of(maps):
    probs, labels = (list(part) for part in zip(*maps, strict=True))
    return score_arrays(
        probs, labels, ["0.1"], regions=REGIONS, softmax=True, engine="host"
    )


def judged(before, maps, apply):
    after = [(apply(probs), labels) for probs, labels in maps]
    pairs = [
        (a.argmax(-1), b.argmax(-1)) for (a, _), (b, _) in zip(maps, after, strict=True)
    ]
    changed = sum(np.count_nonzero(a != b) for a, b in pairs)
    n_voxels = sum(a.size for a, _ in pairs)
    return Judged(compare(before, table_of(after)), changed / n_voxels)


def forms_table(fit_maps, maps, before):
    """Every form, fitted on all voxels."""
    cases = list(voxels_of(fit_maps))
    first = compare(before, before, n_draws=0).regions
    start = np.mean([first[r.name]["ace"].first for r in REGIONS])
    scores = (f"{first['softmax'][m].first:.4f}" for m in ("nll", "brier"))
    lines = [["before", f"{start:.3f}", "", "", *scores, ""]]
    for by_class in (False, True):
        for form in FORMS:
            own = judged(before, maps, ours(cases, form, by_class).apply)
            name = f"`--form {form}`" if form != "temperature" else "one temperature"
            if by_class:
                name = "`--by-class`"
                name += f", `--form {form}`" if form != "temperature" else ""
            after = own.found.regions["softmax"]
            lines.append(
                [
                    name,
                    f"{own.ace():.3f}",
                    *(own.paired(r.name, "ace", 3) for r in REGIONS),
                    f"{after['nll'].second:.4f}",
                    f"{after['brier'].second:.4f}",
                    f"{own.changed:.3%}" if own.changed else "none",
                ]
            )
            print(lines[-1], flush=True)
    head = ["`temperature fit --softmax`", "ACE of the parts, mean"]
    head += [f"ACE, {r.name}: change (95 % over patients, paired)" for r in REGIONS]
    return markdown([*head, "log loss", "Brier", "labels that change"], lines)


def peers_table(fit_maps, maps, before, voxels):
    """The same fits by both, on the same voxels."""
    cases = list(voxels_of(fit_maps, voxels))
    n_voxels = sum(case.labels.size for case in cases)
    theirs([Drawn(z[:, :99], y[:99]) for z, y in cases[:1]], PEERS[0][2], False)  # warm
    lines = []
    for form, by_class, name in PEERS:
        turns = [
            (ours(cases, form, by_class), theirs(cases, name, by_class))
            for _ in range(N_TURNS)
        ]
        pair = turns[0]
        seconds = np.min([[own.seconds for own in each] for each in turns], axis=0)
        # The log loss is convex: the same form can be no worse here. Their order-preserving
        # one lets each gap count in every other, and has offsets.
        if form != "order-preserving" and pair[0].nll > pair[1].nll + 1e-5:
            raise RuntimeError(f"{form}: {pair[0].nll} here, {pair[1].nll} by {name}")
        each = [judged(before, maps, own.apply) for own in pair]
        lines.append(
            [
                form + (", by class" if by_class else ""),
                name,
                *(f"{own.nll:.5f}" for own in pair),
                *(f"{own.ace():.4f}" for own in each),
                *(f"{own.changed:.3%}" if own.changed else "none" for own in each),
                *(f"{least:.1f}" for least in seconds),
                f"{seconds[1] / seconds[0]:.1f}",
            ]
        )
        print(lines[-1], flush=True)
    head = ["fit", "of Fiducio", "log loss, coverax", "Fiducio", "ACE, coverax"]
    head += ["Fiducio", "labels that change, coverax", "Fiducio", "s, coverax"]
    return (
        f"The same fits on the same {n_voxels:,} voxels, log loss of the fit, ACE of the "
        "other patients:",
        markdown([*head, "s, Fiducio", "Fiducio / coverax"], lines),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--voxels", type=int, default=10_000)
    args = parser.parse_args()
    if args.size == "full":
        made = hippocampus_classes(200)
    else:
        cases = (softmax_case((16, 32, 32), seed) for seed in range(8))
        made = ((np.moveaxis(p, 0, -1), y) for p, y in cases)
    maps = [(np.ascontiguousarray(p, np.float32), y) for p, y in made]
    fit_maps, new_maps = maps[::2], maps[1::2]
    before = table_of(new_maps)
    parts = [
        f"`python -m benchmarks.recalibrate --size {args.size} --voxels {args.voxels}`, "
        f"{date.today()}, {machine()}; load {os.getloadavg()[0]:.1f} at the start.",
        f"{len(fit_maps)} cases fit, {len(new_maps)} others judge:",
        forms_table(fit_maps, new_maps, before),
    ]
    if all(importlib.util.find_spec(name) for name in ("fiducio", "torch")):
        parts += peers_table(fit_maps, new_maps, before, args.voxels)
    else:
        parts.append("Fiducio is not installed, so its fits are left out.")
    parts.append(f"Load {os.getloadavg()[0]:.1f} at the end.")
    save("recalibrate", "\n\n".join(parts), whole=args.size == "full")


if __name__ == "__main__":
    main()
