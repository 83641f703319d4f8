"""One page of all results: what it says, what it holds, what it refuses."""

import html
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.report.conftest import HOSTILE

import coverax as cx
from coverax.report import write_report
from coverax.table import read_table

pytest.importorskip("jinja2")
KINDS = ("cut", "sets", "volume", "triage")


class Page(HTMLParser):
    """The elements of a page, and its text without scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements, self.words, self.inside = [], [], []
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words.append(data)


@pytest.fixture(scope="session")
def pages(results, tmp_path_factory):
    """A page of each kind of calibration."""
    out = tmp_path_factory.mktemp("pages")
    for kind in KINDS:
        write_report([results / kind], out / f"{kind}.html")
    return {path.stem: Page(path) for path in sorted(out.glob("*.html"))}


def test_the_promise_and_what_happened_stand_in_the_page(pages, results):
    for kind in KINDS:
        folder = results / kind
        summary = cx.evaluate.read_evaluation(folder / "evaluated" / "evaluation.json")
        text = pages[kind].text
        first, *others = re.split(r"(?<=\.) (?=[A-Z])", summary.statement)
        for sentence in (first, *others):
            assert sentence in text
        for result in summary.results:
            assert cx.evaluate.sentence(result, held_out=True) in text
        assert summary.held_out


def test_measures_of_every_kind_stand_in_the_page(pages, results):
    """Of cuts, volumes and releases, and the state of the monitor."""
    for kind in ("cut", "volume", "triage"):
        path = results / kind / "evaluated" / "evaluation.json"
        for result in cx.evaluate.read_evaluation(path).results:
            for row in cx.evaluate.measure_rows(result):
                assert " ".join(row) in pages[kind].text
    calibration = cx.calibrate.read_calibration(results / "cut" / "calibration.json")
    memory = cx.validate.read_memory(results / "cut" / "monitor.json")
    assert cx.validate.watched(calibration, memory).sentence in pages["cut"].text
    assert "Reliability diagram" in pages["cut"].text
    assert "No diagram" not in pages["cut"].text


def test_thresholds_of_sets_say_where_each_set_ends(results):
    """A margin with its unit; of a map the cut, with its side and more than 1 or 0."""
    from coverax.report.sections.promise import side_words
    from coverax.table import parse_transform

    for spec, threshold, words in (
        ("inner=identity", 0.99997, "p > 0.99997"),
        ("outer=identity", -0.0123456, "p ≥ 0.0123456"),
        ("outer=identity", float("inf"), "none"),
        ("inner=surface", 3.86336, "margin 3.86 mm"),
        ("outer=distance", -1.0, "margin -1 mm"),
        ("outer=logit", 2.5, "logit ≥ -2.5"),
    ):
        assert side_words(parse_transform(spec), threshold) == words


def test_every_set_of_a_page_has_its_threshold_in_words(pages, results):
    from coverax.report.sections.promise import side_words
    from coverax.table import side_transforms

    found = cx.calibrate.read_calibration(results / "sets" / "calibration.json")
    own = {t.side: t for t in side_transforms(found.sets.inner, found.sets.outer)}
    for threshold in found.thresholds:
        words = side_words(own[threshold.side], threshold.value)
        # With its promise, and beside what happened.
        assert pages["sets"].text.count(words) >= 2


def test_a_page_needs_nothing_but_itself(pages):
    for page in pages.values():
        for tag, attributes in page.elements:
            for name in ("src", "href", "xlink:href", "action", "data"):
                link = attributes.get(name) or "#"
                assert link.startswith(("#", "data:")), (tag, link)
        assert not re.search(r"url\((?!#)", page.source)
        assert "@import" not in page.source


def test_no_two_elements_share_an_id_and_every_link_finds_its_own(pages):
    for page in pages.values():
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids))
        links = re.findall(r'(?:url\(#|href="#)([^)"]+)', page.source)
        assert set(links) <= set(ids)


def test_names_from_files_never_become_elements(pages):
    page = pages["cut"]
    assert HOSTILE in page.text
    assert not [tag for tag, _ in page.elements if tag == "b"]
    scripts = [tag for tag, _ in page.elements if tag == "script"]
    assert len(scripts) == page.source.count("</script>")


def test_every_figure_and_table_has_a_name_for_screen_readers(pages):
    for page in pages.values():
        for tag, attributes in page.elements:
            if tag == "svg":
                assert attributes["role"] == "img"
                assert attributes["aria-label"]
        n_tables = sum(tag == "table" for tag, _ in page.elements)
        assert n_tables == sum(tag == "caption" for tag, _ in page.elements) > 0


def slider_values(page):
    """What the sliders of a page look up: positions, and texts by place."""
    found = re.search(
        r'<script type="application/json" class="data">(.*?)</script>', page.source
    )
    return json.loads(html.unescape(found[1]))


def test_sliders_show_the_thresholds_and_compliance_of_the_tables(pages, results):
    """Against a sort of the scores, for every level and tolerance of the page."""
    data = slider_values(pages["cut"])
    old, new = (
        read_table(results / "cut" / name) for name in ("scores.parquet", "new.parquet")
    )
    assert len(data["values"]) == len(data["positions"][0]) * len(data["positions"][1])
    for i, alpha in enumerate(data["positions"][0]):
        for k, tolerance in enumerate(data["positions"][1]):
            known = np.sort(old.critical_probability(float(tolerance)))[::-1]
            rank = int(np.ceil(round((known.size + 1) * (1 - float(alpha)), 9)))
            texts = data["values"][f"{i},{k}"]
            if rank > known.size:
                assert texts[0].startswith("none")
                continue
            cut = known[rank - 1]
            share = (new.critical_probability(float(tolerance)) >= cut).mean()
            if cut > 0:
                assert texts[0] == f"p ≥ {cut:.4g}"
            assert texts[1] == f"{share:.1%}"


def test_error_rates_of_the_sliders_hold_those_of_the_evaluation(results):
    from coverax.report.found import find_results
    from coverax.report.settings import settings_of

    found = find_results([results / "cut"])
    (settings,), why = settings_of(found, found.calibrations[0].content)
    assert not why
    measured = found.evaluations[0].content.results[0]
    here = settings.at[settings.chosen]
    assert here.ecr == measured.calibrated.ecr
    assert here.band == (measured.ecr_band[0].low, measured.ecr_band[0].high)
    for ends, exact in (
        (here.measures, measured.calibrated),
        (settings.fixed, measured.fixed),
    ):
        for name in ("fnr", "pc", "volume_ml"):
            value = getattr(exact, "fnr_mean" if name == "fnr" else name)
            low, high = ends[name]
            # Means of counts, summed in another order.
            slack = 20 * np.finfo(float).eps * max(1.0, value)
            assert low - slack <= value <= high + slack
    for low, high in settings.fixed.values():
        assert low == high  # 0.5 lies on the grid


def test_without_a_new_table_the_sliders_show_all_splits(results, tmp_path):
    for name in ("scores.parquet", "calibration.json"):
        shutil.copy(results / "cut" / name, tmp_path / name)
    write_report([tmp_path], tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert "no new case is in it" in page.text
    table = read_table(tmp_path / "scores.parquet")
    plan = cx.validate.Plan(alphas=("0.2",), method="fnr")
    validated = cx.validate.validate_table(table, plan).results[0].splits[0]
    data = slider_values(page)
    place = data["positions"][0].index("0.2")
    assert data["values"][f"{place},0"][1] == f"{validated.coverage_mean:.1%}"


def test_the_page_is_the_same_whatever_path_leads_to_its_folder(results, tmp_path):
    texts = []
    for kind in (lambda p: p, str):
        write_report([kind(results / "volume")], kind(tmp_path / "r.html"))
        texts.append((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]


@pytest.fixture
def folder(results, tmp_path):
    """A copy of the results of a cut."""
    shutil.copytree(results / "cut", tmp_path / "cut")
    return tmp_path / "cut"


@pytest.mark.parametrize(
    "name", ["calibration.json", "evaluated/evaluation.json", "evaluated/cases.csv"]
)
def test_a_file_that_was_altered_is_refused_by_name(folder, name, tmp_path):
    path = folder / name
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.", "1.", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"digest|not the file") as error:
        write_report([folder], tmp_path / "r.html")
    assert str(path.parent) in str(error.value)
    assert not (tmp_path / "r.html").exists()


def test_files_that_were_not_read_are_named(folder, tmp_path):
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "theirs.json").write_text('{"a": 1}', encoding="utf-8")
    unread = write_report([folder], tmp_path / "r.html")
    assert [path.name for path, _ in unread] == ["broken.json"]
    assert "broken.json" in Page(tmp_path / "r.html").text


def test_an_output_that_is_an_input_is_refused(folder):
    before = (folder / "calibration.json").read_bytes()
    with pytest.raises(FileExistsError, match="is an input"):
        write_report([folder], folder / "calibration.json")
    assert (folder / "calibration.json").read_bytes() == before


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing of coverax"):
        write_report([tmp_path], tmp_path / "r.html")
    with pytest.raises(FileNotFoundError):
        write_report([tmp_path / "no"], tmp_path / "r.html")


def test_files_read_back_are_what_was_written(results):
    """Every kind of result: the inverse of `to_json`."""
    readers = {
        "evaluation.json": cx.evaluate.read_evaluation,
        "validation.json": cx.validate.read_validation,
        "reliability.json": cx.reliability.read_reliability,
    }
    found = [p for p in results.rglob("*.json") if p.name in readers]
    assert len(found) == 6
    for path in found:
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["digest"]
        content.pop("files", None)
        read = readers[path.name](path)
        assert json.loads(json.dumps(read.to_json())) == content


def test_cases_read_back_are_those_of_the_evaluation(results):
    path = results / "cut" / "evaluated"
    rows = cx.evaluate.read_cases(path / "cases.csv")
    counted = [row for row in rows if row["counted"]]
    result = cx.evaluate.read_evaluation(path / "evaluation.json").results[0]
    assert len(counted) == result.n_counted
    hits = [row["calibrated_complies"] for row in counted]
    assert sum(hits) == result.calibrated.n_compliant
    assert {row["group"] for row in rows} == {HOSTILE, "B"}
