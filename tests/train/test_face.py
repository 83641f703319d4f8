"""What `coverax.train` offers, without the packages that train until they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from coverax import train


def promised():
    """Names that the type checker sees, and where it finds them."""
    tree = ast.parse(Path(train.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "typing":
            for alias in node.names:
                if alias.asname:  # what is imported for others
                    yield alias.asname, f"{node.module}.{alias.name}"


def test_the_face_is_what_the_type_checker_sees():
    assert sorted(name for name, _ in promised()) == dir(train)


@pytest.mark.parametrize(("name", "home"), list(promised()))
def test_every_name_is_the_one_of_its_home(name, home):
    for package in ("optax", "grain", "orbax.checkpoint"):
        pytest.importorskip(package)
    module, own = home.rsplit(".", 1)
    assert getattr(train, name) is getattr(sys.modules[module], own)


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'learn'"):
        _ = train.learn


def test_a_config_is_read_without_the_packages_that_train():
    code = (
        "import sys, coverax as cx; cx.train.load_config; "
        "print([m for m in ('jax', 'optax', 'flax', 'orbax', 'grain') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
