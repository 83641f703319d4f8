"""What packages offer: functions and types by name, lazily, and no module files."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import coverax as cx

PACKAGES = sorted({*cx.__all__, "cli", "demo", "stream", "table", "train.nets"})
PACKAGES = [name for name in PACKAGES if not name.startswith("_")]
OFFERED_MODULES = {"calibrate.bounds"}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_what_it_offers_and_no_module_files(name):
    package = importlib.import_module(f"coverax.{name}")
    assert dir(package) == sorted(package.__all__)
    assert len(set(package.__all__)) == len(package.__all__) > 0
    for own in package.__all__:
        thing = getattr(package, own)
        is_module = isinstance(thing, ModuleType)
        assert not is_module or f"{name}.{own}" in OFFERED_MODULES, own
        assert not own.startswith("_")
    assert "exported" not in package.__all__


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_imported_with_a_star_is_what_is_listed(name):
    names = {}
    exec(f"from coverax.{name} import *", names)
    package = importlib.import_module(f"coverax.{name}")
    assert set(names) - {"__builtins__"} == set(package.__all__)


def loaded(statement):
    """Modules that a statement imports, in an interpreter of its own."""
    code = f"import sys; {statement}; print(*sys.modules)"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_importing_coverax_imports_nothing_else_until_it_is_used():
    heavy = {"jax", "numpy", "scipy", "pyarrow", "nibabel", "matplotlib", "flax"}
    assert not loaded("import coverax") & heavy
    assert not loaded("import coverax; coverax.train") & heavy
    assert "matplotlib" not in loaded("import coverax; coverax.report")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cx.nothing  # noqa: B018
