"""Cohorts from a CSV file and from two folders; regions."""

from pathlib import Path

import pytest

from coverax.volumes import (
    FOREGROUND,
    Region,
    cohort_regions,
    match_folders,
    nifti_files,
    parse_region,
    parse_regions,
    read_cohort,
)

HEAD = "case_id,probs,labels"


def csv_file(tmp_path, *lines, name="cohort.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


def folder(path, *names):
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_bytes(b"x")
    return path


def test_paths_are_relative_to_the_file_and_defaults_are_filled(tmp_path):
    path = csv_file(tmp_path, HEAD, "a,p/a.nii.gz,/abs/a.nii")
    (case,) = read_cohort(path).cases
    assert case.probs == tmp_path / "p/a.nii.gz"
    assert case.labels == Path("/abs/a.nii")
    assert (case.unit, case.group, case.weight) == ("a", "", 1.0)
    assert (case.region, case.valid, case.image) == (None, None, None)


def test_optional_columns_in_any_order_with_a_byte_order_mark(tmp_path):
    path = csv_file(
        tmp_path,
        "unit,labels,probs,weight,case_id,group,valid,image",
        "u1,l.nii,p.nii,0.25, a ,site 1,v.nii,i.nii",
        encoding="utf-8-sig",
    )
    (case,) = read_cohort(path).cases
    assert (case.case_id, case.unit, case.group, case.weight) == (
        "a",
        "u1",
        "site 1",
        0.25,
    )
    assert case.valid == tmp_path / "v.nii"
    assert case.image == tmp_path / "i.nii"


def test_the_order_of_the_file_is_kept(tmp_path):
    path = csv_file(tmp_path, HEAD, *[f"{i},p,l" for i in "cab"])
    assert [c.case_id for c in read_cohort(path).cases] == list("cab")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "column case_id, probs, labels is missing|is empty"),
        ([HEAD], "no case"),
        (["case_id,probs", "a,b"], "column labels is missing"),
        ([HEAD + ",sex", "a,p,l,f"], "unknown column sex; known are case_id"),
        (["case_id;probs;labels", "a;b;c"], "column .* missing"),
        ([HEAD, "a,p,l", "b,p"], "line 3: labels is empty"),
        ([HEAD, ",p,l"], "line 2: case_id is empty"),
        ([HEAD, "a,p,l,x"], "line 2: more cells than columns"),
        ([HEAD, "a,p,l", "b,p,l", "a,q,m"], "case a occurs twice"),
        ([HEAD, "a/b,p,l"], "cannot name a file"),
        ([HEAD, "../a,p,l"], "cannot name a file"),
        ([HEAD, ".a,p,l"], "cannot name a file"),
        ([HEAD, '"a\nb",p,l'], "cannot name a file"),
        ([HEAD + ",weight", "a,p,l,-1"], "weight of case a must be .* got '-1'"),
        ([HEAD + ",weight", "a,p,l,inf"], "weight of case a"),
        ([HEAD + ",weight", "a,p,l,nan"], "weight of case a"),
        ([HEAD + ",weight", "a,p,l,much"], "weight of case a"),
        ([HEAD + ",region", "a,p,l,x", "a,p,l,x"], "case a occurs twice"),
        ([HEAD + ",region", "a,p,l,x", "a,p,l,"], "case a occurs twice"),
        ([HEAD + ",unit,unit", "a,p,l,1,2"], "column unit occurs twice"),
    ],
)
def test_a_bad_cohort_file_is_named_with_its_line(tmp_path, lines, message):
    path = csv_file(tmp_path, *lines)
    with pytest.raises(ValueError, match=message) as error:
        read_cohort(path)
    assert str(path) in str(error.value)


def test_every_wrong_line_is_named(tmp_path):
    lines = [HEAD + ",weight", "a,p,l,1", "b,p,l,-1", "c,,l,1", "d,p,l,x"]
    with pytest.raises(ExceptionGroup, match="3 lines are wrong") as error:
        read_cohort(csv_file(tmp_path, *lines))
    numbers = [str(e).split(": ")[0].split()[-1] for e in error.value.exceptions]
    assert numbers == ["3", "4", "5"]


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "cohort.csv"
    for content in (b"case_id,probs,labels\n\xff\xfe,p,l\n", b"case_id\0,probs\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cohort\.csv"):
            read_cohort(path)


def test_a_missing_cohort_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"c\.csv: no such cohort file"):
        read_cohort(tmp_path / "c.csv")


def test_one_case_may_have_a_row_for_each_region(tmp_path):
    path = csv_file(tmp_path, HEAD + ",region", "a,p,l,x", "a,q,l,y", "b,p,l,y")
    cohort = read_cohort(path)
    assert cohort_regions(cohort, []) == (
        Region("x", (0,), (1,)),
        Region("y", (0,), (1,)),
    )
    named = cohort_regions(cohort, ["y=1:2", "x=0:1"])
    assert named == (Region("y", (1,), (2,)), Region("x", (0,), (1,)))
    with pytest.raises(ValueError, match="names region y without"):
        cohort_regions(cohort, ["x=0:1"])


def test_folders_match_by_stem_sorted(tmp_path):
    probs = folder(tmp_path / "p", "b.nii.gz", "a.nii", "c.d.nii.gz", "notes.txt")
    labels = folder(tmp_path / "l", "a.nii.gz", "b.NII.GZ", "c.d.nii", ".b.nii.gz.tmp")
    (labels / "x.nii").mkdir()
    cohort = match_folders(probs, labels)
    assert [c.case_id for c in cohort.cases] == ["a", "b", "c.d"]
    assert cohort.cases[1].labels == labels / "b.NII.GZ"
    assert cohort.excluded == {}


def test_every_file_without_a_partner_is_named(tmp_path):
    probs = folder(tmp_path / "p", "a.nii", "b.nii", "c.nii")
    labels = folder(tmp_path / "l", "b.nii", "d.nii")
    with pytest.raises(ExceptionGroup, match="3 files have no partner") as error:
        match_folders(probs, labels)
    text = [str(e) for e in error.value.exceptions]
    assert text == [
        f"{probs / 'a.nii'} (case a): no reference in {labels}",
        f"{probs / 'c.nii'} (case c): no reference in {labels}",
        f"{labels / 'd.nii'} (case d): no map in {probs}",
    ]
    cohort = match_folders(probs, labels, allow_missing=True)
    assert [c.case_id for c in cohort.cases] == ["b"]
    assert cohort.excluded == {"no_reference": ("a", "c"), "no_map": ("d",)}


def test_folders_without_a_pair_are_refused_even_where_files_may_be_missing(tmp_path):
    probs, labels = folder(tmp_path / "p", "a.nii"), folder(tmp_path / "l", "b.nii")
    with pytest.raises(ValueError, match="has a partner"):
        match_folders(probs, labels, allow_missing=True)


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="x: no such folder"):
        nifti_files(tmp_path / "x")
    with pytest.raises(ValueError, match=r"y: holds no \.nii or \.nii\.gz file"):
        nifti_files(folder(tmp_path / "y", "a.txt"))
    with pytest.raises(ValueError, match=r"case a occurs twice: a\.nii and a\.nii\.gz"):
        nifti_files(folder(tmp_path / "z", "a.nii", "a.nii.gz"))


def test_a_region_is_a_channel_and_its_labels():
    assert parse_region("tumour=2:4,3,4") == Region("tumour", (2,), (3, 4))
    assert parse_regions([]) == (FOREGROUND,)
    for spec in ("whole-tumour=0:1,2", "a.b_c=10:11"):
        assert str(parse_region(spec)) == spec


@pytest.mark.parametrize(
    "spec", ["x", "x=1", "x=:1", "x=1:", "=1:1", "x=a:1", "x=1:1,", "x=-1:1", "a/b=1:1"]
)
def test_a_malformed_region_is_quoted(spec):
    with pytest.raises(ValueError, match="expected NAME=CHANNEL") as error:
        parse_region(spec)
    assert repr(spec) in str(error.value)


def test_region_names_differ_and_background_is_no_region():
    with pytest.raises(ValueError, match="names must differ"):
        parse_regions(["x=0:1", "x=1:2"])
    with pytest.raises(ValueError, match="label 0 is the background"):
        parse_region("x=0:0,1")


def test_a_region_may_join_channels():
    region = parse_region("any=2+1:1,2")
    assert region == Region("any", (1, 2), (1, 2))
    assert parse_region(str(region)) == region
    with pytest.raises(ValueError, match="a channel counts once"):
        parse_region("any=1+1:1,2")
