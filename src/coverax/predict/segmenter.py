"""An estimator in the manner of scikit-learn, which need not be installed."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from coverax.calibrate import Calibration, calibrate_fnr
from coverax.checks import as_list
from coverax.predict.apply import apply
from coverax.rational import Level
from coverax.scores import ScoreTable, score_arrays
from coverax.table import Region, fnr_scores

Masks = np.ndarray | list[np.ndarray]


class ConformalSegmenter:
    """Masks that miss more than `tolerance` of a structure in at most `alpha` of cases.

    `fit` calibrates maps against references, `predict` cuts new maps: `score_arrays`,
    `calibrate_fnr` and `apply` in one object that scikit-learn clones, searches and
    pickles. The promise is theirs: for a new case exchangeable with those of `fit`, on
    average over calibration sets, and for each region on its own.

    Args:
        alpha: Tolerated probability that a new case misses more, in (0, 1).
        tolerance: Tolerated false-negative rate of a case, in [0, 1).
        delta: Share of calibration sets for which the promise may fail; None for the
            marginal one.
        regions: Structures, as for `score_arrays`; None for maps of one.
        channels: Where the class axis of the maps is, as for `score_arrays`.

    Attributes:
        calibration_: What `fit` found.

    References:
        Tan et al. (2025), Conformal Lesion Segmentation for 3D Medical Images.
    """

    def __init__(
        self,
        alpha: Level = 0.1,
        tolerance: Level = 0.1,
        *,
        delta: Level | None = None,
        regions: Sequence[Region | str] | str | None = None,
        channels: str | None = None,
    ):
        # As given, and checked in fit: so scikit-learn clones it.
        self.alpha = alpha
        self.tolerance = tolerance
        self.delta = delta
        self.regions = regions
        self.channels = channels

    def fit(
        self,
        probs: Iterable[Any],
        labels: Iterable[Any],
        *,
        units: Iterable[Any] | None = None,
        case_ids: Iterable[Any] | None = None,
        valid: Iterable[Any] | None = None,
    ) -> "ConformalSegmenter":
        """Calibrate on maps of cases that no model was trained on.

        Args:
            probs: Maps, as for `score_arrays`.
            labels: References.
            units: What is exchangeable, the patient; the case by default.
            case_ids: Names of the cases.
            valid: Masks of the voxels that count.

        Raises:
            ExceptionGroup: Cases have bad values or shapes; one exception each.
            ValueError: A level is out of range, or no guarantee can be given: the cases
                are too few, or the cut would be the whole volume.
        """
        options = {"units": units, "case_ids": case_ids, "valid": valid}
        table = self._scored(probs, labels, self.tolerance, **options)
        found = calibrate_fnr(
            table, self.alpha, tolerance=self.tolerance, delta=self.delta
        )
        found.raise_if_bad()
        self.calibration_ = found
        return self

    def predict(self, probs: Iterable[Any]) -> Masks | dict[str, Masks]:
        """Masks of new maps: `[batch, *spatial]`, or a list where shapes differ.

        Returns:
            Booleans; by name where there are several regions.

        Raises:
            ExceptionGroup: Maps have bad values or shapes; one exception each.
            ValueError: It is not fitted yet.
        """
        calibration = self._fitted()
        cases = apply(calibration, probs, channels=self.channels)
        names = [region.name for region in calibration.definition.regions]
        found = {
            name: _stacked([case.regions[name].mask for case in cases])
            for name in names
        }
        return found if len(names) > 1 else found[names[0]]

    def score(self, probs: Iterable[Any], labels: Iterable[Any]) -> float:
        """Share of references with foreground of which no more than tolerated is missed.

        The promise is `1 - alpha` of it, on average over calibration sets; see
        `evaluate_arrays` for its law.

        Raises:
            ExceptionGroup: Cases have bad values or shapes; one exception each.
            ValueError: It is not fitted yet, or every reference is empty.
        """
        calibration = self._fitted()
        tolerance = calibration.thresholds[0].tolerance
        table = self._scored(probs, labels, tolerance or 0.0)
        limit = [
            calibration.threshold_of(region).value for region in table.column("region")
        ]
        counted = table.column("n_foreground") > 0
        if not counted.any():
            raise ValueError("every reference is empty: no case counts")
        scores = fnr_scores(table, table.tolerances[0])
        return float((scores <= np.array(limit))[counted].mean())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; none of them has parameters of its own."""
        del deep
        return {name: getattr(self, name) for name in _parameters(type(self))}

    def set_params(self, **params: Any) -> "ConformalSegmenter":
        """Set parameters by name.

        Raises:
            ValueError: There is no such parameter.
        """
        known = _parameters(type(self))
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name}; it has "
                    f"{', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        own = self.get_params().items()
        shown = (f"{name}={value!r}" for name, value in own if value is not None)
        return f"{type(self).__name__}({', '.join(shown)})"[:300]

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks, which is then installed."""
        from sklearn.utils import (  # pyright: ignore[reportMissingImports]
            InputTags,
            Tags,
            TargetTags,
        )

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
        )

    def _scored(
        self, probs: Any, labels: Any, tolerance: Level, **options: Any
    ) -> ScoreTable:
        regions = self.regions
        if regions is not None and not isinstance(regions, str | Region):
            regions = as_list(regions, "regions")
        return score_arrays(
            probs,
            labels,
            tolerance,
            regions=regions,
            channels=self.channels,
            n_bins=0,
            **options,
        )

    def _fitted(self) -> Calibration:
        if not hasattr(self, "calibration_"):
            raise ValueError(f"{self!r} is not fitted yet: call fit first")
        return self.calibration_


def _parameters(kind: type) -> list[str]:
    """Names of the parameters of an estimator."""
    return list(inspect.signature(kind).parameters)


def _stacked(masks: list[np.ndarray]) -> Masks:
    """One array where the shapes allow it."""
    same = len({mask.shape for mask in masks}) == 1
    return np.stack(masks) if same else masks
