"""The page in a real browser: controls, keys, errors, accessibility.

Needs chromium and node on the path, and `COVERAX_NODE_MODULES`: a folder `node_modules` with
the npm packages playwright-core and, for the test of accessibility, axe-core.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import coverax as cx

pytest.importorskip("jinja2")
SCRIPT = Path(__file__).with_name("browser.mjs")
MODULES = "COVERAX_NODE_MODULES"
# A phone in the light and a desk in the dark.
SCREENS = ((400, "light"), (1400, "dark"))


@pytest.fixture(scope="session")
def browse():
    """Open a page; returns what the script saw."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    modules = os.environ.get(MODULES, "")
    if chromium is None or shutil.which("node") is None:
        pytest.skip("no chromium and node to open the page with")
    if not (Path(modules) / "playwright-core").is_dir():
        pytest.skip(f"{MODULES} names no folder with playwright-core")

    def run(path, width, scheme):
        command = ["node", SCRIPT, modules, chromium, path, str(width), scheme]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session", params=SCREENS, ids=lambda s: f"{s[0]}-{s[1]}")
def seen(request, browse, results, tmp_path_factory):
    from coverax.report import write_report

    path = tmp_path_factory.mktemp("browser") / "report.html"
    cohort = cx.volumes.read_cohort(results / "new.csv")
    write_report([results / "sets", results / "cut"], path, cohort=cohort)
    return browse(path, *request.param)


def test_no_error_and_no_request_but_the_page(seen):
    assert seen["problems"] == []
    others = [url for url in seen["requests"] if not url.startswith("data:")]
    assert len(others) == 1
    assert others[0].startswith("file:")


def test_nothing_is_wider_than_the_screen(seen):
    assert seen["overflow"] <= 0


def test_sliders_move_and_the_numbers_beside_them_change(seen):
    assert seen["sliders"]
    for box in seen["sliders"]:
        data, steps = box["data"], box["steps"]
        for step in steps:
            place = ",".join(map(str, step["places"]))
            assert step["values"] == data["values"][place]
            texts = [
                p[k] for p, k in zip(data["positions"], step["places"], strict=True)
            ]
            assert step["shown"] == step["named"] == texts
        assert steps[0]["values"] != steps[1]["values"]
        assert steps[0]["mark"] > steps[1]["mark"]  # to the smallest alpha
        assert steps[2]["places"] == [0] * len(steps[2]["places"])


def test_a_viewer_follows_keys_wheel_and_touch(seen):
    assert len(seen["viewers"]) > 1
    for steps in seen["viewers"]:
        at = {key: int(text.split()[1]) for key, text in steps.items()}
        assert at["ArrowUp"] == at["start"] + 1 or at["start"] == at["End"]
        assert at["Home"] < at["End"]
        assert at["wheel"] == at["Home"] + 1
        assert at["touch"] > at["Home"]


def test_axe_finds_no_serious_violation(seen):
    if seen["violations"] is None:
        pytest.skip(f"{MODULES} has no axe-core")
    grave = [v for v in seen["violations"] if v["impact"] in ("serious", "critical")]
    assert grave == []
