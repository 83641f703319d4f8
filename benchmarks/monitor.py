"""How often a healthy monitor alarms, and how late a failing one, by simulation.

    python -m benchmarks.monitor [--years 200]

A year is 52 weeks of 20 new patients, the calibration 100 or 400, the level 0.05: of an
alarm ever, at weekly looks. A minute or two on two cores; nothing is timed.
"""

import argparse
from datetime import date

import numpy as np

from benchmarks.common import machine, markdown, save
from coverax.calibrate import conformal_rank, pac_rank
from coverax.validate import compliance_capital, map_capital, risk_capital

LEVEL, ALPHA = 0.05, "0.1"
WEEKS, A_WEEK = 52, 20
N_NEW = WEEKS * A_WEEK


def weekly(capital):
    """What is seen at the end of each week."""
    return capital[A_WEEK - 1 :: A_WEEK]


def healthy(n_years):
    """Years without any change in which an alarm is seen, by what is watched."""
    rng, n = np.random.default_rng(0), 100
    rank = conformal_rank(n, ALPHA)
    counts = dict.fromkeys(("three features of maps", "references", "both"), 0)
    for year in range(n_years):
        features = [
            map_capital(rng.random(n), rng.random(N_NEW), name=str(k), seed=year) / 3
            for k in range(3)
        ]
        scores = np.sort(rng.random(n))
        failed = rng.random(N_NEW) > scores[rank - 1]
        promise = compliance_capital(failed, n, rank)
        maps = max(weekly(path).max() for path in features)
        kept = weekly(promise).max()
        seen = (maps, kept, max(maps, kept) / 2)
        for name, capital in zip(counts, seen, strict=True):
            counts[name] += capital >= 1 / LEVEL
    error = (LEVEL * (1 - LEVEL) / n_years) ** 0.5
    return [
        [name, f"{hits} of {n_years}", f"{LEVEL * n_years:g} +- {error * n_years:.1f}"]
        for name, hits in counts.items()
    ]


def delays(n_years):
    """How many references it takes, where the promise fails."""
    rng, rows = np.random.default_rng(1), []
    for n in (100, 400):
        for rate in (0.15, 0.2, 0.25, 0.4):
            row = [str(n), f"{rate:g}"]
            for kind in ("marginal", "confidence"):
                late = []
                for _ in range(n_years):
                    failed = rng.random(N_NEW) < rate
                    if kind == "marginal":
                        path = compliance_capital(failed, n, conformal_rank(n, ALPHA))
                    else:
                        path = risk_capital(failed, ALPHA)
                    reached = np.flatnonzero(path >= 1 / LEVEL)
                    late.append(reached[0] + 1 if reached.size else np.inf)
                found = np.isfinite(late).mean()
                half = np.median(late)
                row += [f"{found:.0%}", f"{half:.0f}" if np.isfinite(half) else "-"]
            rows.append(row)
    return rows


def main():
    """Print the tables; keep those of the full number of years."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--years", type=int, default=200)
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    given = parser.parse_args()
    n_years = given.years if given.size == "full" else 2
    need = f"{pac_rank(100, ALPHA, '0.05')} of 100"
    parts = [
        f"`python -m benchmarks.monitor --years {n_years}`, {date.today()}, {machine()}",
        f"{n_years} simulated years of {WEEKS} weeks, {A_WEEK} new patients each, level "
        f"{LEVEL}: healthy years with an alarm.",
        markdown(["watched", "years with an alarm", "at most, mean"], healthy(n_years)),
        "References until the alarm at a promise of at most 0.1: share of years in which "
        f"it comes, and its median. Of a marginal promise (rank "
        f"{conformal_rank(100, ALPHA)} of 100) and of one with confidence .95 (rank {need}).",
        markdown(
            [
                "n",
                "true rate of failure",
                "marginal, found",
                "median",
                "with confidence, found",
                "median",
            ],
            delays(n_years),
        ),
    ]
    text = "\n\n".join(parts) + "\n"
    save("monitor", text, whole=n_years >= 200)


if __name__ == "__main__":
    main()
