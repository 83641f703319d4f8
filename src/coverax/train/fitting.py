"""Training from Python: a module, arrays and losses of one's own, in one call."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from coverax.files import PathLike
from coverax.train.augment import augment
from coverax.train.cases import Prepared
from coverax.train.config import parse_config
from coverax.train.data import train_batches
from coverax.train.loop import Pieces, train
from coverax.train.metrics import Row
from coverax.train.model import make_predict, model_of
from coverax.train.own import as_nnx, case_of
from coverax.train.step import final_params
from coverax.train.windows import predict_volume


class Fitted(NamedTuple):
    """What a fit ends with.

    Attributes:
        module: The module with its parameters.
        predict: From an image `[x, y, z, channels]` to its softmax `[x, y, z, classes]`.
        rows: Step, loss and its parts, of every step.
        dices: Mean Dice of each validation on the learning cases.
    """

    module: nnx.Module
    predict: Callable[[Any], np.ndarray]
    rows: list[Row]
    dices: list[float]


def fit(
    module: Any,
    cases: Sequence[Any],
    *,
    losses: Mapping[Any, float] | None = None,
    learning: Sequence[Any] = (),
    n_classes: int | None = None,
    folder: PathLike | None = None,
    axes: int = 3,
    **tables: Mapping[str, Any],
) -> Fitted:
    """Train a module of one's own on cases in memory.

    Cases that calibrate or test must be neither among `cases` nor among `learning`, nor
    of a patient who is: nothing here can know.

    Args:
        module: A Flax NNX module that holds its first parameters, or one of Linen; see
            `coverax.train.own` for what it takes and gives.
        cases: `(image, labels)` or `(image, labels, spacing_mm)`: arrays `[x, y, z]` or
            `[x, y]`, an image with channels last, labels 0 to `n_classes` - 1.
            Intensities are taken as they are.
        losses: Weights by name of `coverax.losses`, or by function of one's own
            `(logits, targets) -> [batch, classes]`; Dice and cross-entropy by default.
        learning: Cases to validate on.
        n_classes: Classes; by default one more than the largest label.
        folder: Where checkpoints and metrics go; the last state there is gone on with.
            None keeps nothing.
        axes: 2 for a net of slices.
        tables: `patch`, `optimiser`, `run` and `loss_options`, as in a config file.

    Raises:
        ValueError: A case, a choice or the module does not fit; one line.

    References:
        docs/training.md, "Parts of one's own".
    """
    seen = _prepared(cases, n_classes, "cases")
    kept = _prepared(learning, n_classes, "learning") if learning else []
    largest = max(int(np.max(np.asarray(case.labels))) for case in seen)
    n_classes = largest + 1 if n_classes is None else n_classes
    weights = {"soft_dice": 1.0, "cross_entropy": 1.0} if losses is None else losses
    names = {loss: _name(loss) for loss in weights}
    raw = {
        "data": {"images": ".", "labels": ".", "channels": seen[0].image.shape[-1]}
        | {"classes": {f"class {i}": i for i in range(n_classes)}},
        "net": {"axes": axes},
        "losses": {names[loss]: weight for loss, weight in weights.items()},
    }
    config = parse_config(raw | dict(tables), Path())
    shape = (1, *config.patch.size[:axes], config.data.channels)
    net = as_nnx(module, shape, nnx.Rngs(config.run.seed))
    spacing = np.median([case.edges_mm for case in seen], axis=0)
    spacing_mm = tuple(spacing.tolist())
    dataset = train_batches(seen, config.patch, config.run.seed)

    def batches(step: int) -> Iterator[Any]:
        return iter(dataset[step:].to_iter_dataset())

    def volumes(predict, case: Prepared):
        size = config.patch.size
        return predict_volume(
            predict, case.image, size, n_classes, batch=config.patch.batch
        )

    pieces = Pieces(
        model=model_of(net, axes),
        augment=partial(augment, spacing_mm=spacing_mm),
        batches=batches,
        learning=kept,
        volumes=volumes,
        spacing_mm=spacing_mm,
        own_losses={name: loss for loss, name in names.items() if callable(loss)},
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        where = temporary if folder is None else folder
        Path(where).mkdir(parents=True, exist_ok=True)
        done = train(config, pieces, where, on_step=rows.append)
    params = jax.tree.map(np.asarray, final_params(done.state))
    apply = partial(make_predict(pieces.model), params)
    nnx.update(net, params["net"])

    def predict(image: Any) -> np.ndarray:
        case = case_of("image", (image, np.zeros(np.shape(image)[:-1], int)), [0])
        return volumes(apply, case)

    return Fitted(net, predict, rows, done.dices)


def _prepared(cases: Sequence[Any], n_classes: int | None, what: str) -> list[Prepared]:
    """Arrays as cases; labels are their own class indices."""
    if not cases:
        raise ValueError(f"{what} is empty")
    found = []
    for i, case in enumerate(cases):
        largest = int(np.max(case[1])) if n_classes is None else n_classes - 1
        found.append(case_of(f"{what}[{i}]", case, range(largest + 1)))
    return found


def _name(loss: str | Callable[..., Any]) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", repr(loss))
