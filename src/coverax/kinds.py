"""What a file is: of ours by its keys, else by its first bytes; for messages too."""

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

# Keys that tell what a sealed JSON file is; of two that fit, the first.
KINDS = (
    ("calibration", {"thresholds", "score_definition"}),
    ("BIDS derivative", {"GeneratedBy", "calibration_digest"}),
    ("sidecar of masks", {"masks", "calibration_digest"}),
    ("monitor state", {"maps", "references", "looks"}),
    ("list of cases", {"list", "calibration_digest"}),
    ("temperature", {"fits", "voxels_per_case"}),
    ("choice of transforms", {"what", "inner", "outer", "unit_digests"}),
    ("evaluation", {"results", "held_out"}),
    ("validation", {"results", "evidence"}),
    ("reliability", {"regions", "mean_over_regions"}),
    ("record of inference", {"model", "options", "classes"}),
    ("record of scaled maps", {"temperature", "temperatures", "parts"}),
    ("record of a part", {"shard", "values", "cases_digest"}),
    ("record of packed maps", {"bits", "maps", "parts"}),
    ("record of exported maps", {"channels", "parts"}),
    ("summary of a site", {"one", "n_cuts"}),
    ("split", {"parts", "units", "seed"}),
    ("config of a run", {"config", "coverax"}),
    ("cache entry", {"case_id", "files"}),
)
# First bytes, or how a name ends -> what it is.
_STARTS = (
    (b"PAR1", "a Parquet file, as a score table is"),
    (b"\x89PNG", "a picture"),
    (b"PK\x03\x04", "an archive, as .npz is"),
    (b"NRRD", "a volume"),
    (b"ObjectType", "a volume"),
)
_ENDS = ((".nii", "a volume"), (".nii.gz", "a volume"), (".csv", "a CSV file"))
_OTHER_JSON = "a JSON file"
_LARGEST = 1 << 28  # bytes of a JSON file that is read for the sake of a message


def kind_of_keys(keys: Set[str]) -> str | None:
    """The kind of a JSON object of ours; None where it is none."""
    return next((kind for kind, own in KINDS if own <= keys), None)


def instead(path: Path, wanted: str, command: str, *, is_json: bool = False) -> str:
    """What a file is in place of what was wanted, and the way out; ends a message.

    Empty where it is not known to be something else: of JSON where JSON `is_json` wanted.
    """
    found = what_is(path)
    if not found or found == f"a {wanted}" or (is_json and found == _OTHER_JSON):
        return ""
    return f"; it is {found}: name the {wanted} that `coverax {command}` writes"


def what_is(path: Path) -> str:
    """What a file is, in words; empty where nobody knows."""
    if path.is_dir():
        return "a folder"
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return ""
    name = path.name.lower()
    if start.lstrip().startswith((b"{", b"[")):
        return _what_json(path)
    known = next((what for sign, what in _STARTS if start.startswith(sign)), "")
    return known or next((what for end, what in _ENDS if name.endswith(end)), "")


def _what_json(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            return _OTHER_JSON
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError):
        return ""
    kind = kind_of_keys(content.keys()) if isinstance(content, dict) else None
    return f"a{'n' * (kind[0] in 'aeio')} {kind}" if kind else _OTHER_JSON
