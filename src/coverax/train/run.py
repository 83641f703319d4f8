"""A run from its files: folder, split, cases, and the pieces that the loop takes.

What a run may see is decided here, once: cases of the parts train and learning. A case of
any other part, or of a unit that another part owns, is refused before a voxel is read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from coverax._version import __version__
from coverax.files import PathLike, publish_sealed_json, read_sealed_json
from coverax.folders import check_output_folder
from coverax.losses import combine
from coverax.stream import gather, map_cases
from coverax.train.augment import augment
from coverax.train.cases import (
    CaseFiles,
    Prepared,
    find_cases,
    prepare_case,
    present_classes,
)
from coverax.train.checkpoint import check_same_config, only_writer
from coverax.train.config import TrainConfig, portable
from coverax.train.data import train_batches
from coverax.train.loop import Pieces
from coverax.train.own import own_cases
from coverax.train.split import Split, read_split, split_of, write_split
from coverax.train.start import check_start, start_digest, starting_model
from coverax.train.step import Batch, make_loss
from coverax.train.windows import predict_volume

CONFIG, SPLIT = "config.json", "split.json"
_SCHEMA = 1


class Cohort(NamedTuple):
    """The files of a run and the part of each case."""

    files: dict[str, CaseFiles]
    split: Split

    def of(self, part: str) -> dict[str, CaseFiles]:
        """Files of the cases of a part, sorted by name."""
        return {i: self.files[i] for i in self.split.cases(part) if i in self.files}


def find_cohort(config: TrainConfig) -> Cohort:
    """Match the files of a config and split them by unit.

    Raises:
        OSError: A folder or file is missing.
        ValueError: Files do not match, the split does not fit them, or net, patch and
            losses do not go together.
    """
    check_pieces(config)
    if config.data.dataset:
        files = {i: CaseFiles(Path(i), None) for i in own_cases(config.data)}
    else:
        files = find_cases(config.data)
    split = split_of(config.data, files)
    check_start(config, split)
    return Cohort(files, split)


def check_pieces(config: TrainConfig) -> None:
    """Refuse a net, a patch or losses that no step can take, before anything is read.

    The loss of a step is traced, not computed.

    Raises:
        ValueError: One of them is unknown, or they do not go together.
    """
    combine(config.losses, options=config.loss_options)
    patch = (config.patch.batch, *config.patch.size)
    images = jax.ShapeDtypeStruct((*patch, config.data.channels), np.float32)
    labels = jax.ShapeDtypeStruct(patch, np.int32)
    with _one_line("net"):
        model = starting_model(config)
        params = jax.eval_shape(lambda: model.start(0))
    with _one_line("losses, loss_options or patch"):
        jax.eval_shape(make_loss(model, config), params, images, labels)


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Name the part of the config in what only the libraries below notice."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        first = " ".join(str(error).split())[:200]
        raise ValueError(f"{what}: {type(error).__name__}: {first}") from None
    except ValueError as error:
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from None


def start_run(
    config: TrainConfig, cohort: Cohort, folder: PathLike, *, resume: bool
) -> None:
    """Make the folder of a run, or check that it is this run's.

    Writes `config.json` and `split.json`; on several hosts the first one does.

    Raises:
        FileExistsError: The folder holds something and `resume` is not set.
        OSError: The folder cannot be written.
        ValueError: It is the folder of another config or of another split.
    """
    folder = Path(folder)
    if jax.process_index() != 0:
        return
    plain = portable(config)
    if resume and (folder / CONFIG).exists():
        content, _ = read_sealed_json(folder / CONFIG, "run", _SCHEMA, "train")
        check_same_config(f"{folder}", plain, content["config"])
        if content.get("start", "") != start_digest(config):
            raise ValueError(f"{folder}: run.start is not what the run started from")
        if read_split(folder / SPLIT).digest != cohort.split.digest:
            raise ValueError(
                f"{folder}: the cases or the split are not those of its {SPLIT}; "
                "name a new folder"
            )
        return
    if not (resume and _is_barely_started(folder)):
        check_output_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The config comes last: its presence says that the folder is complete.
    write_split(folder / SPLIT, cohort.split)
    content = {"schema": _SCHEMA, "coverax": __version__, "config": plain}
    if config.run.start is not None:
        content["start"] = start_digest(config)
    publish_sealed_json(folder / CONFIG, content)


@contextmanager
def starting_run(
    config: TrainConfig, cohort: Cohort, folder: PathLike, *, resume: bool
) -> Iterator[None]:
    """`start_run`, undone if what is read next cannot be trained on.

    Raises:
        BlockingIOError: Another process trains in this folder.
        FileExistsError, OSError, ValueError: As of `start_run`.
    """
    folder = Path(folder)
    with only_writer(folder):
        is_new = not (folder / CONFIG).exists()
        start_run(config, cohort, folder, resume=resume)
        try:
            yield
        except BaseException:
            if is_new and jax.process_index() == 0:
                for name in (CONFIG, SPLIT):
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()
            raise


def _is_barely_started(folder: Path) -> bool:
    """Whether a run was killed before its config had its name."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return all(SPLIT in name or CONFIG in name for name in names)


def prepare(
    config: TrainConfig,
    files: dict[str, CaseFiles],
    on_case: Callable[[], None] = lambda: None,
) -> list[Prepared]:
    """Read cases into memory, all of them tried before any failure is reported.

    Raises:
        ExceptionGroup: Files are missing or unfit; one exception each.
    """
    own = own_cases(config.data) if config.data.dataset else {}

    def one(case_id: str) -> Prepared:
        if own:
            return own[case_id]
        return prepare_case(*files[case_id], config.data)

    found: dict[str, Prepared] = {}
    outcomes = map_cases(one, files)
    gather(outcomes, list(files), found.__setitem__, on_case=on_case)
    return list(found.values())


def check_labels(
    config: TrainConfig,
    files: dict[str, CaseFiles],
    on_case: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Read headers and references of cases, as `prepare` would, but no image.

    Returns:
        By class, how many cases have a voxel of it.

    Raises:
        ExceptionGroup: Files are missing or unfit; one exception each.
    """
    own = own_cases(config.data) if config.data.dataset else {}

    def one(case_id: str) -> np.ndarray:
        if own:
            wanted = np.arange(len(config.data.classes))
            return np.isin(wanted, np.unique(np.asarray(own[case_id].labels)))
        return present_classes(*files[case_id], config.data)

    found = np.zeros(len(config.data.classes), int)

    def take(_: str, present: np.ndarray) -> None:
        found[:] += present

    gather(map_cases(one, files), list(files), take, on_case=on_case)
    return dict(zip(config.data.classes, found.tolist(), strict=True))


def make_pieces(
    config: TrainConfig,
    split: Split,
    train: Sequence[Prepared],
    learning: Sequence[Prepared],
) -> Pieces:
    """What the loop puts together, from prepared cases.

    Raises:
        ValueError: A loss is unknown, a case belongs to a unit of another part, there is
            nothing to train on, or the net does not take the patch.
    """
    combine(config.losses, options=config.loss_options)  # knows every name, or raises
    split.check_disjoint((case.case_id for case in train), "train")
    split.check_disjoint((case.case_id for case in learning), "learning")
    dataset = train_batches(train, config.patch, config.run.seed)

    def batches(step: int) -> Iterator[Batch]:
        return iter(dataset[step:].to_iter_dataset())

    def volumes(predict, case: Prepared):
        n_classes = len(config.data.classes)
        return predict_volume(
            predict, case.image, config.patch.size, n_classes, batch=config.patch.batch
        )

    spacing_mm = _spacing(config, train)
    return Pieces(
        model=starting_model(config),
        augment=partial(augment, spacing_mm=spacing_mm),
        batches=batches,
        learning=learning,
        volumes=volumes,
        split_digest=split.digest,
        spacing_mm=spacing_mm,
    )


def _spacing(config: TrainConfig, cases: Sequence[Prepared]) -> tuple[float, ...]:
    """Voxel edges, for turns and distances: the net's, or the median of the files'."""
    if config.data.spacing_mm is not None:
        return config.data.spacing_mm
    return tuple(np.median([case.edges_mm for case in cases], axis=0).tolist())
