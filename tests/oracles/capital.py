"""Capitals of a monitor in fractions, from their definitions."""

from fractions import Fraction
from itertools import product
from math import prod


def urn(bad, good, failures):
    """Probability of a sequence from an urn that returns each ball with another."""
    p, f = Fraction(1), 0
    for m, failed in enumerate(failures):
        p *= Fraction(bad + f if failed else good + m - f, bad + good + m)
        f += failed
    return p


def sequences(m):
    return list(product((False, True), repeat=m))


def compliance(failures, n, rank):
    """Mean over five larger rates of failure of the ratio of two urns."""
    bad, good = n + 1 - rank, rank
    ratios = ((3, 2), (2, 1), (3, 1), (5, 1), (9, 1))
    believed = {max(bad + 1, -(-bad * p // q)) for p, q in ratios}
    truth = urn(bad, good, failures)
    return sum(urn(b, good, failures) / truth for b in believed) / len(believed)


def risk(losses, alpha):
    """Mean over six stakes of the product of the bets."""
    stakes = [Fraction(k, 100) / alpha for k in (5, 10, 20, 40, 60, 80)]
    return sum(prod(1 + s * (loss - alpha) for loss in losses) for s in stakes) / 6
