"""Temperatures of a cohort: fitted from its files, applied to files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from coverax.files import check_output_folder, digest_ids
from coverax.reliability.temperature import (
    TemperatureFit,
    apply_binary_temperature,
    apply_temperature,
    binary_logits_of,
    fit_temperature,
    logits_of,
)
from coverax.scores import ScoreDefinition, load_case
from coverax.volumes import (
    Cohort,
    Region,
    nifti_files,
    read_header,
    read_probs,
    write_volume,
)

SCHEMA = 1
_BACKGROUND = Region("background", (0,), (0,))


def fit_cohort(
    cohort: Cohort,
    regions: tuple[Region, ...],
    *,
    softmax: bool,
    voxels_per_case: int = 200_000,
    seed: int = 0,
    on_case: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Fit one temperature to a softmax, or one to each sigmoid region.

    Args:
        cohort: Cases with references, apart from those to be calibrated or evaluated.
        regions: The structures; of a softmax all classes but the background.
        softmax: Channels are the classes of a softmax, background first.
        voxels_per_case: Larger cases are sampled, and weighted so that the mean is
            still that over all voxels.
        seed: Of the sampling.
        on_case: Called once a case, for progress.

    Returns:
        The content of `temperature.json`.

    Raises:
        ValueError: A case is unsound, or has no voxel of a declared class.
    """
    for region in regions:
        if len(region.channels) > 1:
            raise ValueError(
                f"region {region} joins channels: it has no temperature of its own; fit "
                "the channels"
            )
    wanted = (_BACKGROUND, *regions) if softmax else regions
    asked = ScoreDefinition(regions=regions, softmax=softmax, n_bins=0)
    asked.check()
    samples: dict[str, list[tuple[np.ndarray, np.ndarray, float]]] = {}
    for number, case in enumerate(cohort.cases):
        try:
            load_case(case, asked) if softmax else None  # the checks of a softmax
            definition = ScoreDefinition(regions=wanted, n_bins=0)
            views = load_case(case, definition).views
        except (ValueError, OSError) as error:
            raise ValueError(f"case {case.case_id}: {error}") from None
        valid = views[0].valid
        kept = np.flatnonzero(
            np.ones(views[0].probs.size, bool) if valid is None else valid
        )
        n_voxels = kept.size
        if n_voxels > voxels_per_case:
            rng = np.random.default_rng([seed, number])
            kept = rng.choice(kept, voxels_per_case, replace=False)
        weight = n_voxels / max(kept.size, 1)
        if softmax:
            z = logits_of(np.stack([view.probs[kept] for view in views], axis=1))
            y = np.argmax([view.labels[kept] for view in views], axis=0)
            samples.setdefault("softmax", []).append((z, y, weight))
        else:
            for view in views:
                y = view.labels[kept].astype(np.int64)
                sample = (binary_logits_of(view.probs[kept]), y, weight)
                samples.setdefault(view.region.name, []).append(sample)
        on_case()
    fits = {
        name: fit_temperature(*map(list, zip(*s, strict=True)))
        for name, s in samples.items()
    }
    return {
        "schema": SCHEMA,
        "softmax": softmax,
        "regions": [str(region) for region in regions],
        "fits": {name: fit._asdict() for name, fit in fits.items()},
        "n_cases": len(cohort.cases),
        "case_ids": [case.case_id for case in cohort.cases],
        "cases_digest": digest_ids(case.case_id for case in cohort.cases),
        "voxels_per_case": voxels_per_case,
        "seed": seed,
    }


def apply_folder(
    content: dict[str, Any],
    probs: Path,
    output: Path,
    *,
    on_case: Callable[[], None] = lambda: None,
) -> int:
    """Write the maps of a folder at the fitted temperatures, under their names.

    Channels that belong to no fitted region stay as they are.

    Returns:
        Number of maps written.

    Raises:
        ValueError: A map is unsound or has other channels than the fitted ones.
    """
    from coverax.volumes import parse_regions

    check_output_folder(output)
    regions = parse_regions(content["regions"])
    files = nifti_files(probs)
    for path in files.values():
        header = read_header(path)
        n_channels = max(header.n_channels, 1)
        values = read_probs(path, channels=range(n_channels)).probs
        if content["softmax"]:
            if n_channels != len(regions) + 1:
                raise ValueError(
                    f"{path} has {n_channels} channels, the fit {len(regions) + 1}"
                )
            fit = TemperatureFit(**content["fits"]["softmax"])
            out = apply_temperature(values.T, fit.temperature).T
        else:
            out = values.copy()
            for region in regions:
                fit = TemperatureFit(**content["fits"][region.name])
                (channel,) = region.channels
                if channel >= n_channels:
                    raise ValueError(f"{path} has no channel {channel}")
                out[channel] = apply_binary_temperature(
                    values[channel], fit.temperature
                )
        shape = tuple(header.grid.shape)
        if header.has_channel_axis:
            volume = out.reshape(n_channels, *shape[::-1]).T
        else:
            volume = out[0].reshape(shape[::-1]).T
        write_volume(output / path.name, volume, header.grid.affine)
        on_case()
    return len(files)
