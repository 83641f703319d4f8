"""Temperatures of a cohort: fitted from its files, applied to files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax._version import __version__
from coverax.choices import Form
from coverax.files import PathLike, digest_ids, digest_json, publish_sealed_json
from coverax.provenance import (
    FITTED,
    LEARNING,
    check_not_masks,
    check_parts,
    kind_of_values,
)
from coverax.reliability.affine import apply_affine, fit_affine
from coverax.reliability.fitted import (
    KIND,
    SOFTMAX,
    Applied,
    Fit,
    Temperature,
    class_names,
)
from coverax.reliability.least import Voxels
from coverax.reliability.ordered import apply_ordered, fit_ordered, ordered_sample
from coverax.reliability.scaled import contents_of, map_digests, scaled_parts
from coverax.reliability.temperature import (
    Sample,
    apply_binary_temperature,
    apply_by_class,
    apply_temperature,
    binary_logits_of,
    fit_samples,
    logits_of,
    sample_of,
)
from coverax.scores import ScoreDefinition, View, check_softmax, load_case
from coverax.stream import (
    HERE,
    Shard,
    Where,
    fill_folder,
    gather,
    map_cases,
    own_cases,
)
from coverax.stream import count_finished as count_finished
from coverax.volumes import (
    SCALED_RECORD,
    Case,
    Cohort,
    MapContent,
    ProbMap,
    Region,
    add_mark,
    check_channels,
    nifti_name,
    read_header,
    read_probs,
    write_volume,
)

_BACKGROUND = Region("background", (0,), (0,))
_SAMPLES: dict[Form, Callable[..., Any]] = {
    "temperature": sample_of,
    "order-preserving": ordered_sample,
}


def fit_cohort(
    cohort: Cohort,
    definition: ScoreDefinition,
    *,
    voxels_per_case: int = 200_000,
    by_class: bool = False,
    form: Form = "temperature",
    seed: int = 0,
    threads: int | None = None,
    allow_hard_masks: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_fit: Callable[[str, int], None] = lambda _name, _n_voxels: None,
) -> Temperature:
    """Fit one temperature to a softmax, or to each of its classes or sigmoid regions.

    Args:
        cohort: Cases with references, apart from those to be calibrated or evaluated.
        definition: The regions, whether the maps are a softmax, and how they are read.
        voxels_per_case: Larger cases are sampled, and weighted so that the mean is
            still that over all voxels.
        by_class: Of a softmax, one fit for the voxels that each class wins.
        form: Of a softmax `order-preserving`, gaps scaled by rank, see `fit_ordered`;
            `vector` or `matrix`, an affine map, see `fit_affine`.
        seed: Seed of the sampling.
        threads: Cases at a time.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        on_case: Called once a case, for progress.
        on_fit: Called with the name and the number of voxels of each fit, as it begins.

    Raises:
        ExceptionGroup: Cases are unsound; one exception each, naming case and file.
        ValueError: A region joins channels, no voxel counts, the maps are masks, a
            record beside them says that their model was trained on their cases, or
            classes are asked for of what is no softmax, or one of them never wins.
    """
    if (by_class or form != "temperature") and not definition.softmax:
        raise ValueError("fits by class, and of forms, are of a softmax (--softmax)")
    make_sample = _SAMPLES.get(form, Voxels)
    check_parts((case.part for case in cohort.cases), allowed=(LEARNING, FITTED))
    for region in definition.regions:
        if len(region.channels) > 1:
            raise ValueError(
                f"region {region} joins channels: it has no temperature of its own; fit "
                "the channels"
            )

    def read(case: Case) -> _Read:
        # Of the name and not of the row, so that the order of rows changes nothing.
        name = digest_ids([f"{case.case_id}\n{case.rater}"])
        rng = np.random.default_rng([seed, int(name[:16], 16)])
        return _samples(
            case, definition, voxels_per_case, rng, make_sample, by_class=by_class
        )

    samples: dict[str, list[Any]] = {}
    contents: list[tuple[str, str, MapContent]] = []

    def take(case: Case, found: _Read) -> None:
        contents.extend((case.case_id, *pair) for pair in found.contents.items())
        for name, sample in found.samples.items():
            samples.setdefault(name, []).append(sample)

    cases = sorted(cohort.cases, key=lambda case: (case.case_id, case.rater))
    outcomes = map_cases(read, cases, threads=threads)
    gather(outcomes, cases, take, name=lambda case: case.case_id, on_case=on_case)
    check_not_masks(
        [(i, region, kind_of_values(*content)) for i, region, content in contents],
        allow=allow_hard_masks,
    )
    fits: dict[str, Fit] = {}
    for name, own in samples.items():
        n_voxels = sum(sample.n_voxels for sample in own)
        if by_class and not n_voxels:
            raise ValueError(
                f"{name} wins in no voxel, so it has no {form} of its own: fit "
                "without --by-class"
            )
        on_fit(name, n_voxels)
        if form == "temperature":
            fits[name] = fit_samples(own, threads=threads)
        elif form == "order-preserving":
            fits[name] = fit_ordered(own, threads=threads)
        else:
            fits[name] = fit_affine(own, diagonal=form == "vector", threads=threads)
    case_ids = list(dict.fromkeys(case.case_id for case in cohort.cases))
    found = Temperature(
        softmax=definition.softmax,
        by_class=by_class or None,
        form=None if form == "temperature" else form,
        regions=[str(region) for region in definition.regions],
        logits=definition.logits,
        allow_overshoot=definition.allow_overshoot,
        ignore_label=definition.ignore_label,
        fits=fits,
        n_cases=len(case_ids),
        case_ids=case_ids,
        cases_digest=digest_ids(case_ids),
        units=sorted({case.unit for case in cohort.cases}),
        map_digests=sorted(map_digests(c for *_, c in contents)),
        voxels_per_case=voxels_per_case,
        seed=seed,
    )
    content = found.to_json()
    del content["digest"]
    return replace(found, digest=digest_json(content))


def apply_folder(
    fitted: Temperature,
    maps: Mapping[str, PathLike],
    output: PathLike,
    *,
    units: Mapping[str, str] | None = None,
    threads: int | None = None,
    where: Where = HERE,
    shard: Shard | None = None,
    parts: PathLike | None = None,
    resume: bool = False,
    verify_inputs: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> Applied:
    """Write maps at the fitted temperatures, as probabilities, under their names.

    Channels that belong to no fitted region stay as they are. The folder appears when
    it is complete, as `coverax.stream.fill_folder` says.

    Args:
        fitted: What `fit_cohort` returned, or `read_temperature`.
        maps: Case id to map.
        output: A new folder, or an empty one.
        units: Unit of each case, to notice units of the fit; known by their case ids
            alone where None.
        threads: Cases at a time.
        where: Where cases are worked on.
        shard: Write the maps of its cases only, into a folder of parts `output`.
        parts: Folder of parts that all shards have filled: take the maps from there.
        resume: Keep the finished maps of an interrupted run of the same temperatures.
        verify_inputs: With `resume`, tell a replaced map by its content too.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Maps failed; one exception each, naming case and file.
        ValueError: A temperature could not be found, or a case has no unit.
    """
    output = Path(output)
    maps = {name: Path(path) for name, path in maps.items()}
    fitted.check()
    meaning, channels = fitted.meaning, fitted.channels
    fitted_on = set(_fitted_on(fitted, maps, units))

    def note_own(case_id: str, is_own: bool) -> None:
        if is_own:
            fitted_on.add(case_id)

    def write_record(folder: Path, _failures: dict[str, str]) -> None:
        record = {
            "schema": 1,
            "coverax": __version__,
            "temperature": meaning,
            "temperatures": fitted.temperatures,
            **({} if fitted.form is None else {"form": fitted.form}),
            "parts": scaled_parts(maps, fitted_on),
        }
        written = [folder / nifti_name(path) for path in maps.values()]
        publish_sealed_json(folder / SCALED_RECORD, record, written)

    fill_folder(
        output,
        maps,
        MapScaler(fitted),
        files={case_id: [nifti_name(path)] for case_id, path in maps.items()},
        kind=KIND,
        meaning=meaning,
        threads=threads,
        where=where,
        shard=shard,
        parts=parts,
        on_done=note_own,
        resume=resume,
        verify_inputs=verify_inputs,
        on_case=on_case,
        on_note=on_note,
        finish=write_record,
    )
    n_channels = max(read_header(path).n_channels for path in maps.values())
    unchanged = sorted(set(range(n_channels)) - channels)
    n_own = len(own_cases(maps, shard))
    return Applied(n_own, sorted(fitted_on), unchanged)


@dataclass(frozen=True, slots=True)
class MapScaler:
    """Writes one map at the fitted temperatures; it travels to other processes."""

    fitted: Temperature

    def __call__(self, _case_id: str, path: Path, folder: Path) -> bool:
        """Whether the temperature was fitted on the very map."""
        prob_map = _read_map(self.fitted, path)
        _write_scaled(self.fitted, prob_map, folder)
        found = map_digests(contents_of(prob_map, self.fitted.channels))
        return bool(found & set(self.fitted.map_digests or ()))


class _Read(NamedTuple):
    """Voxels of a case for each fit, by its name, and what its maps hold, by region."""

    samples: dict[str, Any]
    contents: dict[str, MapContent]


def _samples(
    case: Case,
    definition: ScoreDefinition,
    voxels_per_case: int,
    rng: np.random.Generator,
    make_sample: Callable[..., Any],
    *,
    by_class: bool,
) -> _Read:
    background = (_BACKGROUND,) if definition.softmax else ()
    lean = replace(definition, n_bins=0, n_soft_bins=0, band_edges_mm=())
    loaded = load_case(case, lean, also=background)
    views, contents = loaded.views, loaded.facts["content"]
    valid = views[0].valid
    n_voxels = views[0].probs.size
    kept = np.arange(n_voxels) if valid is None else np.flatnonzero(valid)
    n_valid = kept.size
    if n_valid > voxels_per_case:
        kept = rng.choice(kept, voxels_per_case, replace=False)
    weight = n_valid / max(kept.size, 1)
    if not definition.softmax:
        own = {v.region.name: _binary_sample(v, kept, weight) for v in views}
        return _Read(own, contents)
    z = logits_of(np.stack([view.probs[kept] for view in views]))
    y = np.argmax([view.labels[kept] for view in views], axis=0)
    if not by_class:
        return _Read({SOFTMAX: make_sample(z, y, weight)}, contents)
    winner, names = z.argmax(axis=0), class_names(definition.regions)
    won = {name: winner == k for k, name in enumerate(names)}
    own = {name: make_sample(z[:, m], y[m], weight) for name, m in won.items()}
    return _Read(own, contents)


def _binary_sample(view: View, kept: np.ndarray, weight: float) -> Sample:
    z = binary_logits_of(view.probs[kept]).T
    return sample_of(z, view.labels[kept].astype(np.int64), weight)


def _fitted_on(
    fitted: Temperature,
    case_ids: Mapping[str, Any],
    units: Mapping[str, str] | None,
) -> list[str]:
    """Cases that the temperature was fitted on, or whose units were."""
    lacking = [] if units is None else sorted(case_ids.keys() - units.keys())
    if lacking:
        raise ValueError(
            f"no unit is given (--units) for case {', '.join(lacking[:5])}"
            + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        )
    own_cases, own_units = set(fitted.case_ids), set(fitted.units)
    return [
        case_id
        for case_id in sorted(case_ids)
        if case_id in own_cases or (units and units[case_id] in own_units)
    ]


def _read_map(fitted: Temperature, path: Path) -> ProbMap:
    file = read_header(path)
    file.grid.check_sizes()  # the affine is written as the sizes of voxels
    wanted = sorted(fitted.channels)
    if fitted.softmax and file.n_channels != len(wanted):
        raise ValueError(
            f"{path} has {file.n_channels} channels, the fit {len(wanted)} classes"
        )
    check_channels(file, wanted)
    return read_probs(
        path,
        channels=range(file.n_channels),
        logits=fitted.logits,
        allow_overshoot=fitted.allow_overshoot,
    )


def _write_scaled(fitted: Temperature, prob_map: ProbMap, folder: Path) -> None:
    file = prob_map.file
    scaled = _scaled(fitted, prob_map)
    channels = (file.n_channels,) if file.has_channel_axis else ()
    volume = scaled.reshape(*channels, *file.grid.shape[::-1]).T
    mark = add_mark(file.mark, KIND, fitted.meaning)
    name = nifti_name(prob_map.path)
    write_volume(folder / name, volume, file.grid.affine, mark=mark)


def _scaled(fitted: Temperature, prob_map: ProbMap) -> np.ndarray:
    """All channels of a map at the fitted temperatures, `[channels, voxels]`."""
    probs = prob_map.probs
    # An overshoot that was accepted has no logit; it counts as 0 or 1.
    proper = np.clip(probs, 0, 1) if fitted.allow_overshoot else probs
    if fitted.softmax:
        check_softmax(prob_map)
        if fitted.form == "order-preserving":
            return apply_ordered(proper, fitted.factors, axis=0)
        if fitted.form is not None:
            return apply_affine(proper, fitted.affine, axis=0)
        each = list(fitted.temperatures.values())
        if fitted.by_class:
            return apply_by_class(proper, each, axis=0)
        return apply_temperature(proper, each[0], axis=0)
    out = probs.copy()
    for region in fitted.parsed_regions:
        (channel,) = region.channels
        temperature = fitted.temperatures[region.name]
        out[channel] = apply_binary_temperature(proper[channel], temperature)
    return out
