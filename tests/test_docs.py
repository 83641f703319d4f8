"""The Python of README.md and docs/ runs, on the smallest data it can have."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = {
    path.relative_to(ROOT).as_posix(): BLOCK.findall(path.read_text(encoding="utf-8"))
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
# Nets of millions of weights: their blocks are compiled, and what they import is there.
TOO_LARGE = {"docs/nets.md"}


def cohort(seed):
    """Maps and references of 12 cases."""
    rng = np.random.default_rng(seed)
    labels = rng.random((12, 5, 4, 3)) < 0.3
    probs = np.clip(0.6 * labels + 0.4 * rng.random(labels.shape), 0, 1)
    return list(probs.astype(np.float32)), list(labels)


@pytest.fixture
def given():
    """What the pages speak of without making it: maps, references, a table of them."""
    from coverax.scores import score_arrays

    probs, labels = cohort(0)
    return {
        "probs": probs,
        "labels": labels,
        "new_probs": probs[0],
        "table": score_arrays(probs, labels, [0.1]),
        "spacing_mm": np.ones((12, 3), np.float32),
    }


@pytest.fixture
def of_page(given):
    """Pages that speak of whole batches, as kernels take them."""
    import jax.numpy as jnp

    batches = {name: jnp.stack(given[name]) for name in ("probs", "labels")}
    spacing_mm = jnp.asarray(given["spacing_mm"])
    n = len(given["probs"])
    new = cohort(1)
    return {
        "docs/reliability.md": batches | {"spacing_mm": spacing_mm},
        "docs/arrays.md": {
            "names": [f"patient_{i}" for i in range(n)],
            "test_names": [f"other_{i}" for i in range(n)],
            "test_probs": new[0],
            "test_labels": new[1],
            "have_pandas": find_spec("pandas") is not None,
        },
    }


@pytest.mark.parametrize("page", [p for p, blocks in PAGES.items() if blocks])
def test_python_of_a_page_runs(page, given, of_page, monkeypatch, tmp_path):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    names = given | of_page.get(page, {})
    for block in PAGES[page]:
        tree = ast.parse(block, page)
        if page in TOO_LARGE:
            imports = (ast.Import, ast.ImportFrom)
            tree.body = [node for node in tree.body if isinstance(node, imports)]
        exec(compile(tree, page, "exec"), names)


def test_no_block_of_python_is_passed_over():
    for page, blocks in PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert len(blocks) == len(re.findall(r"```\s*(python|py)\b", text)), page
    assert any(PAGES.values())
