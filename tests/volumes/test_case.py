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
    read_groups,
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
    path = csv_file(tmp_path, HEAD, *[f"{i},p{i},l" for i in "cab"])
    assert [c.case_id for c in read_cohort(path).cases] == list("cab")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "column case_id, probs, labels is missing|is empty"),
        ([HEAD], "no case"),
        (["case_id,probs", "a,b"], "column labels is missing; it has case_id, probs"),
        (["case_id;probs;labels", "a;b;c"], "has case_id;probs;labels .*commas"),
        (["case_id,\x1b[2J", "a,b"], "column .* cannot be printed"),
        ([HEAD + ",wieght", "a,p,l,1"], "unknown column wieght: is it weight"),
        ([HEAD + ",Unit", "a,p,l,1"], "unknown column Unit: is it unit"),
        ([HEAD + ",", "a,p,l,1"], "column 4 has no name"),
        ([HEAD + ",\x1b[2J", "a,p,l,1"], "column .* cannot be printed"),
        ([HEAD + ",unit", "a,p,l,nan"], "unit of case a is 'nan'"),
        ([HEAD + ",group", "a,p,l,NaN"], "group of case a is 'NaN'"),
        ([HEAD + ",site", "a,p,l,nan"], "site of case a is 'nan'"),
        ([HEAD + ",group", "a,p,l,\x1b[2J"], "group of case a .* cannot be printed"),
        ([HEAD + ",region", "a,p,l,left kidney"], "region 'left kidney' must be"),
        ([HEAD + ",region", "a,p,l,../../x"], "region .* must be"),
        ([HEAD, 'a,"p,l'], "not a CSV file"),
        ([HEAD, 'a,"p"x,l'], "not a CSV file"),
        ([HEAD, f"a,p,{'l' * 200_000}"], "not a CSV file"),
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


@pytest.mark.parametrize("column", ["unit", "group", "weight"])
def test_a_column_is_given_for_all_rows_or_for_none(tmp_path, column):
    """An empty cell beside filled ones is no default; a column without any is none."""
    head, rows = f"{HEAD},{column}", ["a,p,l,", "b,q,l,"]
    cases = read_cohort(csv_file(tmp_path, head, *rows)).cases
    assert cases == read_cohort(csv_file(tmp_path, HEAD, "a,p,l", "b,q,l")).cases
    for filled in (0, 1):
        mixed = [row + "1" * (i == filled) for i, row in enumerate(rows)]
        path = csv_file(tmp_path, head, *mixed)
        case_id, line = rows[1 - filled][0], 3 - filled
        with pytest.raises(
            ValueError, match=f"line {line}: {column} of case {case_id} is empty"
        ) as error:
            read_cohort(path)
        assert str(path) in str(error.value)


def test_further_columns_are_kept_and_said(tmp_path, caplog):
    path = csv_file(tmp_path, HEAD + ",site,date", "a,p,l,A,2020-01-02", "b,q,l,,")
    one, two = read_cohort(path).cases
    assert one.columns == (("site", "A"), ("date", "2020-01-02"))
    assert (one.column("site"), two.column("site")) == ("A", "")
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: further columns are kept: site, date"
    ]
    with pytest.raises(ValueError, match=r"no column age; it has case_id, .*site"):
        one.column("age")


def test_blank_rows_are_passed_over_and_lines_still_count(tmp_path):
    path = csv_file(tmp_path, HEAD, "", ",,", "a,p,l", ",,", "b,,l")
    with pytest.raises(ValueError, match="line 6: probs is empty"):
        read_cohort(path)


def test_one_map_under_two_case_ids_is_refused(tmp_path):
    """By its path, and by the file itself behind links, in both kinds of cohort."""
    probs = folder(tmp_path / "p", "a.nii", "c.nii")
    (probs / "b.nii").symlink_to("a.nii")
    (probs / "d.nii").hardlink_to(probs / "c.nii")
    labels = folder(tmp_path / "l", "a.nii", "b.nii", "c.nii", "d.nii")
    with pytest.raises(ValueError, match=r"case a, b are one file, .*p/a\.nii"):
        match_folders(probs, labels)
    for first, second in (("p/a.nii", "p/b.nii"), ("p/c.nii", "p/d.nii"), ("x", "./x")):
        path = csv_file(tmp_path, HEAD, f"one,{first},l", f"two,{second},m")
        with pytest.raises(ValueError, match="case one, two are one file"):
            read_cohort(path)
    (probs / "b.nii").unlink()
    (probs / "d.nii").unlink()
    (labels / "b.nii").unlink()
    (labels / "d.nii").unlink()
    (labels / "c.nii").unlink()
    (labels / "c.nii").symlink_to("a.nii")  # one empty reference may serve many
    assert len(match_folders(probs, labels).cases) == 2


def test_units_are_told_by_names(tmp_path, caplog):
    """BIDS subjects by themselves, in folders and tables; any other by a pattern."""
    names = [f"sub-{i:02d}_ses-{j}" for i in (1, 2) for j in (1, 2)] + ["sub-03", "x_1"]
    files = [f"{name}.nii" for name in names]
    folders = folder(tmp_path / "p", *files), folder(tmp_path / "l", *files)
    rows = [f"{name},p/{name}.nii,l/{name}.nii" for name in names]
    path = csv_file(tmp_path, HEAD, *rows)
    wanted = dict(
        zip(names, ["sub-01"] * 2 + ["sub-02"] * 2 + ["sub-03", "x_1"], strict=True)
    )
    for cohort in (match_folders(*folders), read_cohort(path)):
        assert {c.case_id: c.unit for c in cohort.cases} == wanted
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2
    assert all("4 case ids are names of BIDS" in text for text in said)
    pattern = r"(?:sub-)?(\w+?)(?:_|$)"
    for cohort in (
        match_folders(*folders, unit_pattern=pattern),
        read_cohort(path, unit_pattern=pattern),
    ):
        assert {c.unit for c in cohort.cases} == {"01", "02", "03", "x"}
    assert len(caplog.records) == 2
    for bad, words in (("(", "unit pattern"), ("sub-..", "no unit in case x_1")):
        with pytest.raises(ValueError, match=words):
            match_folders(*folders, unit_pattern=bad)
    path = csv_file(tmp_path, HEAD + ",unit", "sub-01_ses-1,p,l,me")
    assert read_cohort(path).cases[0].unit == "me"
    with pytest.raises(ValueError, match="has a column unit"):
        read_cohort(path, unit_pattern=pattern)


def test_groups_and_units_are_read_as_cohorts_are(tmp_path):
    path = csv_file(tmp_path, " case_id , group ", " a , A 1 ", ",", "", 'b,"B"')
    assert read_groups(path) == {"a": "A 1", "b": "B"}
    head = "case_id,group"
    bad = {
        "line 2: case_id or group is missing": [head, "a,"],
        "case a occurs twice": [head, "a,A", "a,A"],
        "column group is missing": ["case_id,site", "a,A"],
        "group is 'nan'": [head, "a,nan"],
        "cannot be printed": [head, "a,\x1b[31mred"],
        "more cells": [head, "a,b,c"],
        "not a CSV file": [head, 'a,"b'],
        "not a CSV file in UTF-8 .*field larger": [head, "a," + "b" * 200_000],
    }
    for words, lines in bad.items():
        with pytest.raises(ValueError, match=words) as error:
            read_groups(csv_file(tmp_path, *lines))
        assert str(path) in str(error.value)
    for encoding in ("latin-1", "utf-16"):
        with pytest.raises(ValueError, match=r"cohort\.csv: not a CSV file in UTF-8"):
            read_groups(csv_file(tmp_path, head, "a,M\xfcnchen", encoding=encoding))


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
    path = csv_file(tmp_path, HEAD + ",region", "a,p,l,x", "a,q,l,y", "b,r,l,y")
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
    with pytest.raises(ValueError, match=r"y: holds no volume"):
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


OTHER_FORMATS = (
    *("c.nii.zst", "c.hdr", "c.img", "c.mgz", "c.npy", "c.b2nd", "c.mnc"),
    *("c.dcm", "c", "c.nii.gzip", "c.img.gz", "c.png"),
)


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_a_file_of_another_format_is_named(tmp_path, caplog, name):
    files = nifti_files(folder(tmp_path / "p", "a.nii", name))
    assert list(files) == ["a"]
    (record,) = caplog.records
    assert str(tmp_path / "p") in record.getMessage()
    assert record.getMessage().endswith(f"passed over: {name}")


def test_many_files_of_other_formats_are_counted(tmp_path, caplog):
    names = [f"c{i}{ending}" for i in range(4) for ending in (".hdr", ".img")]
    nifti_files(folder(tmp_path / "p", "a.nii", "x.nii.zst", *names))
    (record,) = caplog.records
    words = "9 files are no volume (.nii.gz, .nii, .npz, .seg.nrrd, .mha, .mhd, .nrrd) and are passed over: 4 .hdr, 4 .img, 1 .nii.zst"
    assert words in record.getMessage()


def test_companions_of_volumes_are_passed_over_silently(tmp_path, caplog):
    names = ("a.json", "b.TXT", "c.tsv", "d.pkl", ".DS_Store", "._a.nii.gz", "README")
    assert list(nifti_files(folder(tmp_path / "p", "a.nii", *names))) == ["a"]
    assert caplog.records == []


def test_a_name_that_is_no_case_id_is_refused(tmp_path):
    for k, name in enumerate(("a\x1b[2Jb.nii", "a\nb.nii.gz")):
        with pytest.raises(ValueError, match="cannot name a file") as error:
            nifti_files(folder(tmp_path / str(k), name))
        assert str(error.value).isprintable()


def test_names_that_differ_in_an_ending_are_told(tmp_path):
    for k, (ending, other) in enumerate((("_0000", ""), ("_prob", "_seg"), ("", "_m"))):
        probs = folder(tmp_path / f"p{k}", *[f"c_{i}{ending}.nii" for i in range(5)])
        labels = folder(tmp_path / f"l{k}", *[f"c_{i}{other}.nii" for i in range(5)])
        words = (
            f"maps are named CASE{ending} where the references are named CASE{other}:"
        )
        with pytest.raises(ExceptionGroup, match=words):
            match_folders(probs, labels)
        with pytest.raises(ValueError, match=words):
            match_folders(probs, labels, allow_missing=True)


def test_folders_one_a_patient_are_no_raters(tmp_path):
    """They share no case, or no case with a map; a text file beside raters is no map."""
    probs = folder(tmp_path / "p", "s1.nii", "s2.nii")
    for k, names in enumerate((("s1.nii", "s2.nii"), ("seg.nii", "seg.nii"))):
        for i, name in enumerate(names, 1):
            folder(tmp_path / f"l{k}" / f"s{i}", name)
        for allow_missing in (False, True):
            with pytest.raises(ValueError, match=r"one a patient .* cohort\.csv"):
                match_folders(probs, tmp_path / f"l{k}", allow_missing=allow_missing)
    for rater in ("ann", "bob"):
        folder(tmp_path / "r" / rater, "s1.nii", "s2.nii")
    (tmp_path / "r" / "README.txt").write_text("two readers")
    cohort = match_folders(probs, tmp_path / "r")
    assert [(c.case_id, c.rater) for c in cohort.cases] == [
        (i, r) for i in ("s1", "s2") for r in ("ann", "bob")
    ]
    assert cohort.excluded == {}
    with pytest.raises(ValueError, match=r"holds 2 folders \(ann, bob\).*cohort\.csv"):
        nifti_files(tmp_path / "r")
