"""From score tables to loss tables: lams, losses of units, thresholds of lams."""

import numpy as np

from coverax.calibrate.losses import (
    Counts,
    Loss,
    LossCurves,
    with_components,
    with_lesions,
)
from coverax.calibrate.result import Status, Threshold, informative
from coverax.calibrate.seal import Part, nothing_known
from coverax.table import ScoreTable


class LossTables:
    """Loss tables of parts, in the direction of the main loss.

    Args:
        table: The score table.
        unit_column: Column that names what is exchangeable.
        main: Loss whose safe end is the last lam.
        refined: Look at the cohort's own cuts too. Only for methods that stay valid on
            cuts that depend on the data.
    """

    def __init__(
        self,
        table: ScoreTable,
        unit_column: str,
        main: Loss | LossCurves,
        *,
        refined: bool = False,
    ):
        self.table, self.main, self.refined = table, main, refined
        self.units = table.units(unit_column)
        self.peaks = table.lesion_peaks()
        self.components = table.component_events()

    @property
    def nothing(self) -> Threshold:
        """What a region without a unit that counts gets."""
        return nothing_known(-self.main.safe_sign * np.inf)

    def of_part(
        self, part: Part, losses: list[Loss | LossCurves]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Lams, ascending to the safe end, and one table of unit means a loss.

        Where a case has several references its loss at a cut is the largest of theirs.

        Raises:
            ValueError: A loss table was asked for together with other losses, or on
                several regions.
        """
        if isinstance(self.main, LossCurves):
            cuts, each = self._from_curves(self.main, part, len(losses))
        else:
            counts = self._counts(part)
            cuts = counts.cuts
            each = [
                part.cases.worst_of(np.asarray(loss.of(counts), np.float64))
                for loss in losses
                if isinstance(loss, Loss)
            ]
            if len(each) < len(losses):
                raise ValueError("a loss table stands alone: its cuts are its own")
        sign = self.main.safe_sign
        order = np.argsort(sign * cuts, kind="stable")
        lams = sign * cuts[order].astype(np.float64)
        units = self.units[part.rows]
        return lams, [unit_means(values[:, order], units) for values in each]

    def threshold(
        self, part: Part, n_units: int, lam: float, status: Status
    ) -> Threshold:
        """A lam as a threshold of scores; what is infeasible takes everything or nothing."""
        sign = self.main.safe_sign
        return threshold_of_lam(part.region, part.group, n_units, sign, lam, status)

    def _from_curves(
        self, curves: LossCurves, part: Part, n_losses: int
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        if n_losses > 1:
            raise ValueError("a loss table stands alone: its cuts are its own")
        if len(set(self.table.column("region"))) > 1:
            raise ValueError("a loss table is for one region, the score table has more")
        ids = self.table.column("case_id")[part.rows]
        return curves.cuts.astype(np.float32), [curves.rows(ids)]

    def _counts(self, part: Part) -> Counts:
        """Counts of the part's references at the cuts that may be looked at."""
        rows = part.cases.members
        sizes = (
            self.table.column("n_voxels")[rows, None],
            self.table.column("n_foreground")[rows, None],
        )
        if self.refined and isinstance(self.main, Loss) and self.main.jumps_at_lesions:
            return self._at_peaks(rows, sizes)
        grid = self.table.grid_curves()
        cuts = grid.cuts
        predicted, hits = grid.n_predicted[rows], grid.n_true_positive[rows]
        more = self.table.critical_curves(part.region) if self.refined else None
        if more is not None:
            # Curves of a region have its rows alone, in the order of the table.
            mine = np.flatnonzero(self.table.column("region") == part.region)
            own = np.searchsorted(mine, rows)
            cuts, first = np.unique(np.append(cuts, more.cuts), return_index=True)
            predicted = np.hstack([predicted, more.n_predicted[own]])[:, first]
            hits = np.hstack([hits, more.n_true_positive[own]])[:, first]
        return self._with_lesions(Counts(cuts, *sizes, predicted, hits), rows)

    def _at_peaks(self, rows: np.ndarray, sizes: tuple[np.ndarray, np.ndarray]):
        """Lesion counts at every jump they have; voxels are not counted there."""
        peaks = self.peaks or []
        own: list[np.ndarray] = [peaks[row] for row in rows] if peaks else []
        cuts = np.unique(np.concatenate([np.zeros(1, np.float32), *own]))
        nothing = np.zeros((rows.size, 0), np.int64)
        return self._with_lesions(Counts(cuts, *sizes, nothing, nothing), rows)

    def _with_lesions(self, counts: Counts, rows: np.ndarray) -> Counts:
        if self.peaks is None:
            return counts
        found = with_lesions(counts, [self.peaks[row] for row in rows])
        if self.components is None:
            return found
        return with_components(found, [self.components[row] for row in rows])


def threshold_of_lam(
    region: str, group: str, n_units: int, sign: int, lam: float, status: Status
) -> Threshold:
    """A lam as a threshold; `sign` is that of the cuts at the safe end."""
    value = -sign * lam if status == Status.OK else -sign * np.inf
    return Threshold(
        region=region,
        group=group,
        side="lesion",
        tolerance=None,
        n_units=n_units,
        rank=None,
        status=informative(status, value),
        value=value,
    )


def unit_means(losses: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Mean loss of each unit's cases, in the order of unit names: free of the scores."""
    names, of_row = np.unique(units.astype(str), return_inverse=True)
    sums = np.zeros((names.size, losses.shape[1]))
    np.add.at(sums, of_row, losses)
    return sums / np.bincount(of_row)[:, None]
