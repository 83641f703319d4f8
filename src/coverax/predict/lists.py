"""What a prediction writes beside its cases: one list of all of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coverax._version import __version__
from coverax.calibrate import Calibration, Visit
from coverax.choices import Kind
from coverax.files import publish_rows, publish_sealed_json
from coverax.predict.changes import CHANGES, change_rows
from coverax.predict.triage import TRIAGE, triage_rows
from coverax.predict.volumes import VOLUMES, volume_rows

Rows = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
# Kind of a calibration -> name of its list, and its rows from the sidecars of all cases.
LISTS: dict[Kind, tuple[str, Rows]] = {
    "interval": (VOLUMES, volume_rows),
    "release": (TRIAGE, triage_rows),
}


def write_list(
    calibration: Calibration,
    sidecars: list[dict[str, Any]],
    folder: Path,
    visits: Mapping[str, Visit] | None = None,
) -> None:
    """Write the list of a kind that has one, and a sealed record of it beside it."""
    each = sorted(sidecars, key=lambda sidecar: sidecar["case_id"])
    if visits is not None:
        name, rows = CHANGES, change_rows(calibration, each, visits)
    elif calibration.kind in LISTS:
        name, rows_of = LISTS[calibration.kind]
        rows = rows_of(each)
    else:
        return
    if not rows:
        return
    publish_rows(folder / name, rows)
    record = {
        "schema": 1,
        "coverax": __version__,
        "list": name,
        "calibration_digest": calibration.digest,
        "n_rows": len(rows),
    }
    publish_sealed_json(folder / f"{name}.json", record, [folder / name])
