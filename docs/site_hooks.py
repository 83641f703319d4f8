"""Pages of the site that no file of `docs/` holds; `mkdocs.yml` names this under `hooks`.

The reference, a page a package, from the names its `__init__` gives and their docstrings;
the results of benchmarks, the changes and CONTRIBUTING.md as they are. Links to those
files are written as they hold in the repository, `../benchmarks/results/NAME.md`: on the
site they lead to the copies.
"""

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Folder or file of the repository -> where it lies on the site.
PLACES = {
    "benchmarks/results/": "results/",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "docs/": "",
}
LINK = re.compile(r"\]\((?:\.\./)*(?P<target>[^)#\s:]+)")


def packages() -> list[str]:
    """Packages of the reference: those of `coverax.__all__`, and the demonstration."""
    text = (ROOT / "src" / "coverax" / "__init__.py").read_text(encoding="utf-8")
    folder = ROOT / "src" / "coverax"
    names = (name for name in _listed(ast.parse(text)) if (folder / name).is_dir())
    return sorted({*names, "demo"})


def _listed(tree: ast.Module) -> list[str]:
    """`__all__` of a module; empty where it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def public_names(package: str) -> list[str]:
    """What the `__init__` of a package gives: its `__all__`, or imports `x as x`."""
    path = ROOT / "src" / "coverax" / package / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if listed := _listed(tree):
        return sorted(listed, key=str.lower)
    imports = (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom))
    names = {a.asname for each in imports for a in each.names if a.asname}
    return sorted(names, key=str.lower)


def reference_page(package: str) -> str:
    """The page of a package, for mkdocstrings to fill."""
    members = "".join(f"        - {name}\n" for name in public_names(package))
    options = f"    options:\n      members:\n{members}"
    return f"# coverax.{package}\n\n::: coverax.{package}\n{options}"


def results() -> list[Path]:
    """The results of the benchmarks, but those of their smallest size."""
    found = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
    return [path for path in found if not path.stem.endswith("_tiny")]


def on_config(config: Any) -> Any:
    """In the navigation, put the pages of a folder for its name."""
    folders = {
        "reference/": [f"reference/{package}.md" for package in packages()],
        "results/": [f"results/{path.name}" for path in results()],
    }

    def filled(entry: Any) -> Any:
        if isinstance(entry, str):
            return folders.get(entry, entry)
        if isinstance(entry, dict):
            return {name: filled(below) for name, below in entry.items()}
        return [filled(each) for each in entry]

    config.nav = filled(config.nav)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made, and those from outside."""
    for package in packages():
        place, content = f"reference/{package}.md", reference_page(package)
        files.append(File.generated(config, place, content=content))
    outside = [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *results()]
    for path in outside:
        place = _place(path.relative_to(ROOT).as_posix())
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def _place(target: str) -> str | None:
    """Where a file of the repository lies on the site, if it does."""
    for source, place in PLACES.items():
        if target.startswith(source):
            return place + (
                "" if place.endswith(".md") else target.removeprefix(source)
            )
    return None


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links into the repository to the copies on the site."""
    up = "../" * page.file.src_uri.count("/")

    def of_site(link: re.Match[str]) -> str:
        place = _place(link["target"])
        return link[0] if place is None else f"]({up}{place}"

    return LINK.sub(of_site, markdown)
