"""Mutated text files and tables: a value, or one line that names the file.

Bytes are flipped, cut out, doubled and put in; of sealed files also values, with a new
digest, so that what lies behind the digest is reached. `COVERAX_FUZZ` sets the number
of inputs a reader.
"""

import json
import os
import tomllib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import coverax as cx
from coverax.files import digest_json
from tests import synthetic

N_FAST, N_SLOW = 150, int(os.environ.get("COVERAX_FUZZ", "2000"))
COHORT = (
    "case_id,probs,labels,unit,group,weight,region,rater,site,date\n"
    'a,p/a.nii,l/a.nii,u1,A,1.0,x,ann,"so,uth",2020-01-02\n'
    'a,p/a.nii,m/a.nii,u1,A,1.0,x,bob,"so,uth",2020-01-02\n'
    "b,p/b.nii,l/b.nii,u2,B,0.5,x,ann,south,2020-02-02\n"
)
GROUPS = 'case_id,group\na,A\nb,"B 1"\nc,C\n'
LOSSES = "case_id,0,0.25,0.5,1\na,0,0.1,0.2,1\nb,0,0,0.5,1\n"
CONFIG = """
[data]
images = "i"
labels = "l"
classes = { background = 0, lesion = 1 }
spacing_mm = [1.0, 1.0, 2.5]
shares = { train = 0.5, learning = 0.1, calibration = 0.2, test = 0.2 }
unit_pattern = "sub-.."

[net]
sizes = { channels = [4, 6], blocks = [1, 1] }

[patch]
size = [8, 8, 8]

[losses]
soft_dice = 1.0
sdc = 0.5

[loss_options.sdc]
norm = "l1"

[run]
steps = 10
"""
INSERTS = (
    *(b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1b[2J", b"nan"),
    *(
        b"-1",
        b"1e999",
        b"[" * 2000,
        b"{",
        b"}",
        b"null",
        b"\xf0\x9f\x98\x80",
        b"=",
        b".",
    ),
    *(b"9" * 5000, b'"\\ud800"', b"true", b"\xe2\x80\xae", b"1e-30000000"),
)
VALUES = (
    *(None, True, -1, 0, 3, 2**70, 1e300, -0.5, "", "x", "nan", "1/0", "a\x1b[2J"),
    *([], [None], [[1]], {}, {"x": 1}, ["a", 1], "1e-30000000"),
)


def mutated_bytes(data, rng):
    """One to four small edits."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at, kind = int(rng.integers(len(data) + 1)), rng.integers(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at : at + int(rng.integers(1, 40))] = b""
        elif kind == 2:
            data[at:at] = INSERTS[rng.integers(len(INSERTS))]
        elif kind == 3:
            data[at:at] = data[at : at + int(rng.integers(1, 60))]
        else:
            data = data[: max(at, 1)] if rng.integers(8) == 0 else data
    return bytes(data)


def places(content, path=()):
    """Every place of nested lists and objects."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def mutated_value(content, rng):
    """One value replaced, removed, or called otherwise."""
    found = list(places(content))
    *way, last = found[rng.integers(len(found))]
    inside = content
    for key in way:
        inside = inside[key]
    kind = rng.integers(4)
    if kind == 0:
        del inside[last]
    elif kind == 1 and isinstance(inside, dict):
        inside[f"{last}x"] = inside.pop(last)
    else:
        inside[last] = VALUES[rng.integers(len(VALUES))]
    return content


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Sound files of every kind."""
    root = tmp_path_factory.mktemp("seeds")
    folders = synthetic.write_cohort(root / "in", 12, (8, 9, 7), 40)
    cohort = cx.volumes.match_folders(*folders)
    sides = ("inner=identity", "outer=identity")
    definition = cx.scores.ScoreDefinition(
        transforms=cx.scores.parse_transforms(list(sides)), set_sizes=True
    )
    table = cx.scores.score_cohort(cohort, definition, engine="host")
    table.write(root / "scores.parquet")
    cx.calibrate.calibrate_fnr(table, "0.2").write(root / "calibration.json")
    learned = cx.calibrate.learn_sets(table, "0.4", n_calibration=12, n_folds=2)
    learned.write(root / "transforms.json")
    fit = cx.reliability.fit_cohort(cohort, cx.scores.ScoreDefinition())
    fit.write(root / "temperature.json")
    for name, text in (
        ("cohort.csv", COHORT),
        ("groups.csv", GROUPS),
        ("losses.csv", LOSSES),
        ("config.toml", CONFIG),
    ):
        (root / name).write_text(text)
    return root


def read_config(path):
    from coverax.train.config import load_config

    return load_config(path)


READERS = {
    "cohort.csv": cx.volumes.read_cohort,
    "groups.csv": cx.volumes.read_groups,
    "losses.csv": lambda path: cx.calibrate.read_loss_curves(path, safe="large"),
    "calibration.json": cx.calibrate.read_calibration,
    "transforms.json": cx.calibrate.read_learned,
    "temperature.json": cx.reliability.read_temperature,
    "config.toml": read_config,
    "scores.parquet": cx.scores.read_table,
}


def refusals(name, inputs, folder):
    """Read every input: how many were refused, each in one line with the file."""
    path, refused = folder / name, 0
    for data in inputs:
        path.write_bytes(data)
        try:
            READERS[name](path)
        except ExceptionGroup as group:
            lines = [str(error) for error in group.exceptions]
        except ValueError as error:
            lines = [str(error)]
        else:
            continue
        refused += 1
        for line in lines:
            assert str(path) in line
            assert len(line) < 2000
            assert "\x1b" not in line
            assert "\n" not in line
    return refused


def raw(path, n):
    rng, data = np.random.default_rng(1), path.read_bytes()
    return (mutated_bytes(data, rng) for _ in range(n))


def resealed(path, n):
    """JSON with other values and a digest of them."""
    rng, text = np.random.default_rng(2), path.read_text()
    for _ in range(n):
        content = json.loads(text)
        del content["digest"]
        content = mutated_value(content, rng)
        yield json.dumps(content | {"digest": digest_json(content)}).encode()


def restated(path, n):
    """A table with other metadata and a digest of them."""
    rng, table = np.random.default_rng(3), pq.read_table(path)
    meta = table.schema.metadata[b"coverax"]
    for _ in range(n):
        content = json.loads(meta)
        del content["digest"]
        content = mutated_value(content, rng)
        content["digest"] = digest_json(content)
        changed = table.replace_schema_metadata({b"coverax": json.dumps(content)})
        sink = pa.BufferOutputStream()
        pq.write_table(changed, sink)
        yield sink.getvalue().to_pybytes()


def rewritten(path, n):
    """TOML with other values, as JSON writes most of them."""
    rng, text = np.random.default_rng(4), path.read_text()

    def plain(value):
        if isinstance(value, dict):
            inside = ", ".join(
                f"{json.dumps(k)} = {plain(v)}" for k, v in value.items()
            )
            return f"{{{inside}}}"
        if isinstance(value, list):
            return f"[{', '.join(map(plain, value))}]"
        return json.dumps(value).replace("null", "nan")

    for _ in range(n):
        content = mutated_value(tomllib.loads(text), rng)
        lines = [f"{json.dumps(k)} = {plain(v)}" for k, v in content.items()]
        yield "\n".join(lines).encode()


STRUCTURAL = {
    "calibration.json": resealed,
    "transforms.json": resealed,
    "temperature.json": resealed,
    "config.toml": rewritten,
    "scores.parquet": restated,
}
EDITS = [(name, raw) for name in READERS] + list(STRUCTURAL.items())
IDS = [f"{name}-{edit.__name__}" for name, edit in EDITS]


@pytest.mark.parametrize(("name", "edit"), EDITS, ids=IDS)
def test_a_mutated_file_is_read_or_refused_in_one_line(seeds, tmp_path, name, edit):
    assert refusals(name, [(seeds / name).read_bytes()], tmp_path) == 0
    assert refusals(name, edit(seeds / name, N_FAST), tmp_path) > N_FAST // 10


@pytest.mark.slow
@pytest.mark.parametrize(("name", "edit"), EDITS, ids=IDS)
def test_many_mutated_files_are(seeds, tmp_path, name, edit):
    assert refusals(name, edit(seeds / name, N_SLOW), tmp_path) > N_SLOW // 10
