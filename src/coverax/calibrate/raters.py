"""Several references a case: the worst of them counts, or one that is drawn.

What a case scores must be one number, or its references would be counted as cases of
their own. `worst` takes the largest score or loss over raters, so a promise holds
against all of them at once; `draw` takes one rater at random, for the new case as for
those that calibrate.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from coverax.choices import RaterRule
from coverax.shown import plural


class Cases(NamedTuple):
    """Cases by their rows in a table: one each, or one for each reference.

    Attributes:
        rows: First row of each case; facts of the case stand there.
        members: Rows of all its references that count, case by case.
        starts: Where each case begins among `members`.
    """

    rows: Int[np.ndarray, " cases"]
    members: Int[np.ndarray, " members"]
    starts: Int[np.ndarray, " cases"]

    def worst(
        self, values: Shaped[np.ndarray, "rows *any"]
    ) -> Shaped[np.ndarray, "cases *any"]:
        """Largest of a column of the table over the references of each case."""
        return self.worst_of(values[self.members])

    def worst_of(
        self, values: Shaped[np.ndarray, "members *any"]
    ) -> Shaped[np.ndarray, "cases *any"]:
        """Largest over the references of each case, of values of the members."""
        return np.maximum.reduceat(values, self.starts, axis=0)


def cases_of(
    case_ids: np.ndarray,
    rows: Int[np.ndarray, " cases"],
    references: Bool[np.ndarray, " rows"],
) -> Cases:
    """Join the rows of references to the cases that `rows` names, in their order."""
    place = {case_ids[row]: k for k, row in enumerate(rows)}
    found = [row for row in np.flatnonzero(references) if case_ids[row] in place]
    own = np.array([place[case_ids[row]] for row in found], np.intp)
    order = np.argsort(own, kind="stable")
    members = np.array(found, np.intp)[order]
    return Cases(rows, members, np.searchsorted(own[order], np.arange(len(rows))))


def settle_raters(
    case_ids: np.ndarray,
    raters: np.ndarray,
    kept: Bool[np.ndarray, " rows"],
    rule: RaterRule | None,
    seed: int,
) -> Bool[np.ndarray, " rows"]:
    """Rows of the references that count, before any is looked at.

    Args:
        case_ids: Case of each row.
        raters: Rater of each row; empty where there is one.
        kept: Rows of one region.
        rule: `worst` keeps every reference of a case, `draw` one; None refuses several.
        seed: Seed of the draw, which depends on names alone.

    Raises:
        ValueError: A case has several references and no rule was named.
    """
    names, counts = np.unique(case_ids[kept].astype(str), return_counts=True)
    if rule is None and counts.max(initial=0) > 1:
        raise ValueError(
            f"{plural(int(np.count_nonzero(counts > 1)), 'case', 'has', 'have')} "
            f"several references (case {names[counts.argmax()]} has {counts.max()}): "
            "raters='worst' (--raters worst) promises against all of them, 'draw' "
            "draws one a case"
        )
    if rule != "draw":
        return kept
    keys = np.array([f"{c}\n{r}" for c, r in zip(case_ids, raters, strict=True)])
    return kept & draw_one(keys, case_ids, kept, seed)


def draw_one(
    names: np.ndarray,
    owners: np.ndarray,
    kept: Bool[np.ndarray, " rows"],
    seed: int,
) -> Bool[np.ndarray, " rows"]:
    """Mark the kept row of highest priority of each owner.

    The seed gives every name a fixed priority, so the draw depends neither on the order
    of the table nor on the scores.
    """
    unique = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(unique))
    priority = {name: int(order[i]) for i, name in enumerate(unique)}
    best: dict[str, int] = {}
    for row in np.flatnonzero(kept):
        owner = owners[row]
        if owner not in best or priority[names[row]] < priority[names[best[owner]]]:
            best[owner] = int(row)
    drawn = np.zeros(len(names), bool)
    drawn[list(best.values())] = True
    return drawn


def rater_words(rule: RaterRule | None) -> str:
    """What a statement says of the references."""
    if rule == "worst":
        return (
            "Cases have several references: each counted by the one it does worst on, so "
            "the promise holds at once against all raters of the new case whose "
            "reference counts; they must be exchangeable with these. "
        )
    if rule == "draw":
        return (
            "Cases have several references: one rater a case was drawn at random, and "
            "the promise is against a reference of the new case drawn the same way. "
        )
    return ""
