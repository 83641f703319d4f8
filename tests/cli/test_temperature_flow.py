"""`coverax temperature` where its input is wrong, or must be told more of."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from tests.cli.test_bad_input import replace_voxel, truncate
from tests.synthetic import write_nifti

N = 5
REGIONS = ("--region", "a=1:1", "--region", "b=2:2")


@pytest.fixture
def root(tmp_path):
    """Five maps with their logits, whose odds are squared; three classes."""
    rng = np.random.default_rng(1)
    for i in range(N):
        z = rng.normal(0, 1, (10, 9, 8, 3))
        gumbel = rng.gumbel(size=z.shape)  # the largest sum follows the softmax
        e = np.exp(2 * z)
        probs = (e / e.sum(-1, keepdims=True)).astype(np.float32)
        write_nifti(tmp_path / "probs" / name(i), probs)
        write_nifti(tmp_path / "logits" / name(i), (2 * z).astype(np.float32))
        labels = (z + gumbel).argmax(-1).astype(np.uint8)
        write_nifti(tmp_path / "labels" / name(i), labels)
    return tmp_path


def name(i):
    return f"c{i}.nii.gz"


def read(path):
    return np.asanyarray(nib.load(path).dataobj)


@pytest.fixture
def fitted(root, cli):
    """Run `temperature fit`; the path of what it wrote."""

    def run(*more, probs="probs", to="t.json"):
        files = ("--probs", root / probs, "--labels", root / "labels")
        result = cli("temperature", "fit", *files, *more, "-o", root / to)
        assert result.code == 0, result.err
        return root / to

    return run


@pytest.fixture
def applied(root, cli):
    """Run `temperature apply` into `root/out`."""

    def run(path, *more, probs="probs"):
        command = ("temperature", "apply", path, "--probs", root / probs)
        return cli(*command, "-o", root / "out", *more)

    return run


def folders(root):
    return {path.name for path in root.iterdir() if path.is_dir()}


def no_softmax(path):
    write_nifti(path, np.float32(0.9) * read(path))


def one_class_less(path):
    write_nifti(path, read(path)[..., :2])


BROKEN = {
    "truncated": (truncate, "truncated"),
    "NaN": (lambda p: replace_voxel(p, np.nan), "NaN or infinite"),
    "no softmax": (no_softmax, "must sum to 1, got 0.9"),
    "channels": (one_class_less, "has 2 channels, the fit 3 classes"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_apply_names_every_broken_map_publishes_nothing_and_goes_on(
    root, fitted, applied, what
):
    fit = fitted(*REGIONS, "--softmax")
    breaks, words = BROKEN[what]
    paths = [root / "probs" / name(i) for i in (0, 3)]
    sound = {path: path.read_bytes() for path in paths}
    for path in paths:
        breaks(path)
    before = folders(root)
    result = applied(fit)
    assert result.code == 1
    assert len(result.errors) == 3
    for i, line in zip((0, 3), result.errors, strict=False):
        assert f"case c{i}: {root / 'probs' / name(i)}" in line
        assert words in line
    assert "2 of 5 cases failed" in result.errors[-1]
    assert "3 finished cases are kept" in result.err
    assert folders(root) - before == {"out.partial"}
    for path, content in sound.items():
        path.write_bytes(content)
    assert applied(fit, "--resume").code == 0
    assert folders(root) - before == {"out"}
    written = {p.name for p in (root / "out").iterdir()}
    assert written == {"scaled.json", *(name(i) for i in range(N))}


def test_fit_names_every_broken_map(root, cli):
    for i in (1, 2):
        no_softmax(root / "probs" / name(i))
    files = ("--probs", root / "probs", "--labels", root / "labels")
    args = ("temperature", "fit", *files, *REGIONS, "--softmax")
    result = cli(*args, "-o", root / "t.json")
    assert result.code == 1
    assert len(result.errors) == 3
    for i, line in zip((1, 2), result.errors, strict=False):
        assert f"case c{i}: {root / 'probs' / name(i)}: the classes" in line
    assert not (root / "t.json").exists()


def test_an_altered_temperature_is_refused_and_other_files_too(root, fitted, applied):
    from coverax.files import digest_json

    path = fitted(*REGIONS, "--softmax")
    content = json.loads(path.read_text())
    content["fits"]["softmax"]["temperature"] *= 2
    other = {"schema": content["schema"], "transforms": []}
    other["digest"] = digest_json(other)
    cases = [
        (content, "altered after it was written"),
        (other, "not a coverax temperature"),
        ({"schema": 7, "digest": ""}, "temperature of schema 7"),
        ({"schema": 1}, "not a coverax temperature"),
    ]
    for wrong, words in cases:
        path.write_text(json.dumps(wrong))
        result = applied(path)
        assert (result.code, len(result.errors)) == (1, 1)
        assert words in result.errors[0]
        assert str(path) in result.errors[0]
    assert "out" not in folders(root)


def flatten(root):
    for i in range(N):
        write_nifti(root / "probs" / name(i), np.full((10, 9, 8, 3), 1 / 3, np.float32))


def answer(root):
    """Maps that are always right."""
    for i in range(N):
        write_nifti(
            root / "probs" / name(i),
            (0.001 + 0.997 * np.eye(3, dtype=np.float32))[
                read(root / "labels" / name(i))
            ],
        )


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (flatten, "UNDETERMINED (1)", "the same at every temperature"),
        (answer, "AT_BOUND (0.02)", "still falls at the last"),
    ],
)
def test_where_there_is_no_temperature_fit_says_why_and_writes_nothing(
    root, cli, change, status, words
):
    change(root)
    files = ("--probs", root / "probs", "--labels", root / "labels")
    args = ("temperature", "fit", *files, *REGIONS, "--softmax")
    result = cli(*args, "-o", root / "t.json")
    assert (result.code, len(result.errors)) == (1, 1)
    assert f"no temperature for softmax: {status}. " in result.errors[0]
    assert words in result.errors[0]
    assert not (root / "t.json").exists()


def test_apply_refuses_a_fit_that_found_no_temperature(root, fitted, applied):
    from coverax.files import digest_json

    path = fitted(*REGIONS)
    content = json.loads(path.read_text())
    content["fits"]["b"]["status"] = "AT_BOUND"
    del content["digest"]
    path.write_text(json.dumps(content | {"digest": digest_json(content)}))
    result = applied(path)
    assert (result.code, len(result.errors)) == (1, 1)
    assert "no temperature for b: AT_BOUND" in result.errors[0]
    assert "out" not in folders(root)


def cohort(root, rows):
    path = root / "cohort.csv"
    lines = [f"c{i},probs/{name(i)},labels/{name(i)},{unit}" for i, unit in rows]
    path.write_text("\n".join(["case_id,probs,labels,unit", *lines]) + "\n")
    return path


def test_apply_notices_cases_and_units_of_the_fit(root, cli, applied):
    path, fit = cohort(root, [(0, "p"), (1, "q"), (2, "q")]), root / "t.json"
    args = ("temperature", "fit", "--cohort", path, *REGIONS, "--softmax")
    content = cli(*args, "-o", fit, "--json").json
    assert content["units"] == ["p", "q"]
    assert content["case_ids"] == ["c0", "c1", "c2"]
    result = applied(fit, "--json")
    assert result.json["fitted_on"] == ["c0", "c1", "c2"]
    assert "warning: 3 of 5 maps" in result.err
    shutil.rmtree(root / "out")
    units = cohort(root, enumerate(["p", "x", "y", "q", "z"]))
    assert applied(fit, "--units", units, "--json").json["fitted_on"] == [
        "c0",
        "c1",
        "c2",
        "c3",
    ]
    cohort(root, enumerate(["p", "x", "y"]))
    shutil.rmtree(root / "out")
    result = applied(fit, "--units", units)
    assert (result.code, len(result.errors)) == (1, 1)
    assert "no unit is given (--units) for case c3, c4" in result.errors[0]


def test_new_cases_are_applied_without_a_warning(root, fitted, applied):
    fit = fitted(*REGIONS, "--softmax")
    for i in range(N):
        path = root / "probs" / name(i)
        write_nifti(path.with_name(f"new{i}.nii.gz"), read(path)[::-1])
        path.unlink()
    result = applied(fit, "--json")
    assert (result.code, result.json["fitted_on"]) == (0, [])
    assert result.json["unchanged_channels"] == []
    assert "warning" not in result.err


def test_sigmoid_fits_tell_of_the_channels_they_leave(root, fitted, applied):
    result = applied(fitted("--region", "b=2:2"), "--json")
    assert result.code == 0
    assert result.json["unchanged_channels"] == [0, 1]
    assert "channel 0, 1 belongs to no fitted region and is unchanged" in result.err
    old, new = (read(root / folder / name(0)) for folder in ("probs", "out"))
    np.testing.assert_array_equal(new[..., :2], old[..., :2])
    assert (new[..., 2] != old[..., 2]).any()


def test_logits_give_the_temperature_of_their_probabilities(root, fitted, applied):
    of_probs = json.loads(fitted(*REGIONS, "--softmax").read_text())
    path = fitted(*REGIONS, "--softmax", "--logits", probs="logits")
    content = json.loads(path.read_text())
    first, second = (c["fits"]["softmax"] for c in (of_probs, content))
    assert second["temperature"] == pytest.approx(first["temperature"], rel=1e-5)
    assert applied(path, probs="logits").code == 0
    z = read(root / "logits" / name(2)) / np.float64(second["temperature"])
    e = np.exp(z)
    expected = e / e.sum(-1, keepdims=True)
    np.testing.assert_allclose(read(root / "out" / name(2)), expected, atol=1e-6)


@pytest.mark.parametrize("softmax", [("--softmax",), ()])
def test_overshoot_is_accepted_on_request_and_remembered(
    root, cli, fitted, applied, softmax
):
    probs = read(root / "probs" / name(0)).copy()
    probs[0, 0, 0] = [1.0005, -0.0005, 0]
    probs[0, 0, 1] = [0, -0.0005, 1.0005]
    strict = fitted(*REGIONS, *softmax)
    write_nifti(root / "probs" / name(0), probs)
    assert "--allow-overshoot" in applied(strict).errors[0]
    path = fitted(*REGIONS, *softmax, "--allow-overshoot", to="loose.json")
    assert applied(path).code == 0
    new = read(root / "out" / name(0))
    np.testing.assert_array_equal(new[0, 0, 0, 1:], [0, 0])
    np.testing.assert_array_equal(new[0, 0, 1, 1:], [0, 1])


def test_ignored_voxels_change_nothing(root, fitted):
    labels = read(root / "labels" / name(0)).copy()
    labels[:5] = 9
    write_nifti(root / "labels" / name(0), labels)
    fits = []
    for wrong in (0, 1):  # what the map says of ignored voxels
        probs = read(root / "probs" / name(0)).copy()
        probs[:5] = np.eye(3)[wrong]
        write_nifti(root / "probs" / name(0), probs)
        path = fitted(*REGIONS, "--softmax", "--ignore-label", "9")
        fits.append(json.loads(path.read_text())["fits"])
    assert fits[0] == fits[1]


def test_large_cases_are_sampled_alike_on_any_number_of_threads(fitted):
    args = (*REGIONS, "--softmax", "--voxels", "100")
    one, two = (
        json.loads(fitted(*args, "--threads", n).read_text()) for n in ("1", "3")
    )
    assert one == two


def test_fit_keeps_its_own_input(root, cli):
    path = cohort(root, [(0, "p")])
    result = cli("temperature", "fit", "--cohort", path, *REGIONS, "-o", path)
    assert result.code == 2
    assert path.read_text().startswith("case_id")


TRUE = (1.6, 0.8, 2.5)  # of the voxels that each class wins


@pytest.fixture
def by_class(root):
    """References drawn at a temperature of the winning class, and more of them."""
    rng = np.random.default_rng(4)
    for i in range(N):
        z = rng.normal(0, 2, (20, 20, 20, 3))
        e = np.exp(z)
        write_nifti(
            root / "probs" / name(i), (e / e.sum(-1, keepdims=True)).astype("f4")
        )
        drawn = z / np.array(TRUE)[z.argmax(-1)][..., None] + rng.gumbel(size=z.shape)
        write_nifti(root / "labels" / name(i), drawn.argmax(-1).astype(np.uint8))
    return root


def test_each_class_that_wins_gets_the_temperature_its_voxels_were_drawn_at(
    by_class, fitted, applied
):
    """Standard errors from 13,000 voxels a class are below 0.02: 0.1 is five of them."""
    content = json.loads(fitted(*REGIONS, "--softmax", "--by-class").read_text())
    names = ["softmax:background", "softmax:a", "softmax:b"]
    assert list(content["fits"]) == names
    found = [content["fits"][n]["temperature"] for n in names]
    np.testing.assert_allclose(found, TRUE, atol=0.1)
    assert applied(by_class / "t.json").code == 0
    for i in range(N):
        before, after = (read(by_class / f / name(i)) for f in ("probs", "out"))
        winner = before.argmax(-1)
        np.testing.assert_array_equal(after.argmax(-1), winner)
        powers = before.astype(float) ** (1 / np.array(found)[winner][..., None])
        want = powers / powers.sum(-1, keepdims=True)
        np.testing.assert_allclose(after, want, atol=1e-6)


def test_one_temperature_is_written_as_it_was(fitted):
    assert "by_class" not in json.loads(fitted(*REGIONS, "--softmax").read_text())


def test_a_class_that_never_wins_has_no_temperature(root, cli):
    for i in range(N):
        probs = read(root / "probs" / name(i)) * np.float32([1, 1, 1e-4])
        write_nifti(root / "probs" / name(i), probs / probs.sum(-1, keepdims=True))
    files = ("--probs", root / "probs", "--labels", root / "labels", *REGIONS)
    args = ("temperature", "fit", *files, "--by-class", "-o", root / "t.json")
    result = cli(*args, "--softmax")
    assert result.code == 1
    assert "softmax:b wins in no voxel" in result.errors[0]
    assert cli(*args).code == 2
    assert not (root / "t.json").exists()


@pytest.mark.parametrize("form", ["order-preserving", "vector", "matrix"])
@pytest.mark.parametrize("more", [(), ("--by-class",)], ids=["all", "by class"])
def test_forms_through_the_command_line(by_class, cli, applied, form, more):
    import coverax as cx

    files = ("--probs", by_class / "probs", "--labels", by_class / "labels")
    args = ("temperature", "fit", *files, *REGIONS, "--form", form, *more)
    path = by_class / "t.json"
    result = cli(*args, "--softmax", "-o", path)
    assert result.code == 0, result.err
    kept = form == "order-preserving"
    words = "no label changes" if kept else "of labels change"
    assert f"{words}, log loss" in result.out
    fitted = cx.reliability.read_temperature(path)
    assert fitted.form == form
    assert applied(path).code == 0
    for i in range(N):
        before, after = (read(by_class / f / name(i)) for f in ("probs", "out"))
        if kept:
            want = cx.reliability.apply_ordered(before, fitted.factors)
            np.testing.assert_array_equal(after.argmax(-1), before.argmax(-1))
        else:
            want = cx.reliability.apply_affine(before, fitted.affine)
        np.testing.assert_array_equal(after, want)
    record = json.loads((by_class / "out" / "scaled.json").read_text())
    assert (record["form"], record["temperatures"]) == (form, {})
    assert cli("verify", by_class / "out").code == 0
    assert cli(*args, "-o", by_class / "other.json").code == 2


def test_factors_that_were_edited_are_refused(by_class, fitted, applied):
    from coverax.files import digest_json

    path = fitted(*REGIONS, "--softmax", "--form", "order-preserving")
    content = json.loads(path.read_text())
    del content["digest"]
    for wrong, words in (([1.0], "2 finite numbers"), ([1.0, -1.0], "from 0 on")):
        content["fits"]["softmax"]["factors"] = wrong
        path.write_text(json.dumps(content | {"digest": digest_json(content)}))
        result = applied(path)
        assert (result.code, len(result.errors)) == (1, 1)
        assert words in result.errors[0]
