"""The import rule of the design, read from the source."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "coverax"

# The floor that all rooms stand on: the contract of both engines, and what a row means.
FLOOR = {"engine", "table"}
# Layer -> coverax packages it may import. Root modules (choices, files, ...) are for all.
ALLOWED = {
    "engine": set(),
    "table": {"engine"},
    "volumes": {"table"},
    "stream": {"volumes"},
    "kernels": {"engine"},
    "host": {"engine"},
    "calibrate": {"table"},
    "losses": {"engine", "kernels"},
    "doctor": {"engine", "kernels", "host"},
    "scores": FLOOR | {"volumes", "stream", "kernels", "host", "doctor"},
    "predict": FLOOR | {"scores", "calibrate", "volumes", "stream"},
    "evaluate": FLOOR | {"scores", "calibrate", "volumes", "stream", "predict"},
    "validate": FLOOR | {"scores", "calibrate", "volumes", "stream", "predict"},
    "reliability": FLOOR | {"scores", "calibrate", "volumes", "stream", "host"},
    "train": FLOOR
    | {"losses", "kernels", "volumes", "scores", "reliability", "stream"},
    "convert": {"table", "volumes", "stream"},
    "report": {"table", "volumes", "scores", "calibrate", "evaluate"}
    | {"validate", "reliability", "predict", "verify", "stream"},
    "verify": {"table", "stream", "train"},
    "demo": {"table", "volumes", "scores", "calibrate", "predict", "evaluate"},
}
# Outside package -> the only rooms, or files, that may import it.
ONLY_IN = {
    "pyarrow": {"table/parquet.py"},
    "nibabel": {"volumes"},
    "isal": {"volumes"},
    "SimpleITK": {"volumes/itk.py"},
    "edt": {"host"},
    "cc3d": {"host"},
    "matplotlib": {"report"},
    "PIL": {"report"},
    "jinja2": {"report"},
    "contourpy": {"report"},
    "dask": {"stream"},
    "orbax": {"train"},
    "flax": {"train"},
    "optax": {"train"},
    "grain": {"train"},
    "tensorboardX": {"train"},
    "typer": {"cli"},
    "rich": {"cli"},
}
# What the layers of tables and kernels may import from outside.
OUTSIDE = {
    "engine": {"numpy", "jax", "jaxtyping"},
    "table": {"numpy", "pyarrow", "jaxtyping"},
    "calibrate": {"numpy", "scipy", "jax", "jaxtyping"},
    "kernels": {"numpy", "jax", "jaxtyping"},
    "losses": {"numpy", "jax", "jaxtyping"},
}
ROOT_MODULES = {
    *(
        "_version",
        "checks",
        "choices",
        "exports",
        "files",
        "folders",
        "locks",
        "provenance",
    ),
    "kinds",
    "rational",
    "records",
    "shown",
    "tolerance",
}


def imports_of(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    return [p for p in sorted(SOURCE.rglob("*.py")) if p.parent != SOURCE]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_layer_imports_only_what_lies_below_it(path):
    layer = path.relative_to(SOURCE).parts[0]
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "coverax" and len(parts) > 1:
            target = parts[1]
            if target in ROOT_MODULES | {layer} or layer == "cli":
                continue
            assert target in ALLOWED[layer], f"{layer} imports {target}"
        elif parts[0] in ONLY_IN:
            here = {layer, str(path.relative_to(SOURCE))}
            assert here & ONLY_IN[parts[0]], f"{parts[0]} imported in {path}"


@pytest.mark.parametrize("layer", sorted(OUTSIDE))
def test_pure_layers_import_little_from_outside(layer):
    import sys

    for path in sorted((SOURCE / layer).rglob("*.py")):
        for name in imports_of(path):
            top = name.split(".")[0]
            if top != "coverax" and top not in sys.stdlib_module_names:
                assert top in OUTSIDE[layer], f"{path.name} imports {top}"


def test_the_rule_catches_a_violation():
    names = list(imports_of(SOURCE / "scores" / "compute.py"))
    assert any(n.startswith("coverax.stream") for n in names)
    assert "stream" in ALLOWED["scores"]
    assert "scores" not in ALLOWED["kernels"]


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("cli.app", {"numpy"}),
        ("engine.results", {"numpy"}),
        ("table", {"numpy"}),
        ("calibrate", {"numpy", "scipy"}),
    ],
)
def test_what_is_imported_pulls_in_no_heavy_package(module, wanted):
    """Help is there at once, and tables are read about without an accelerator."""
    import subprocess
    import sys

    code = (
        f"import sys, coverax.{module}; "
        "print([m for m in ('jax','numpy','pyarrow','scipy','nibabel') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not set(ast.literal_eval(out.stdout)) - wanted
