"""Tables of README.md and docs/ that are copies of results of benchmarks and examples.

    python -m benchmarks.tables [--check]

A line `<!-- benchmarks/results/NAME.md, block N -->` (or `examples/WHICH/results/`) says what the paragraph or table below
it is: the N-th block of that file, counted from 1 between empty lines. This writes all of
them anew; with `--check` nothing is written, and the exit code is 1 where one is stale.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = re.compile(
    r"(?P<mark><!-- (?P<path>(?:benchmarks|examples/\w+)/results/\w+\.md), block (?P<n>\d+) -->\n)"
    r"(?P<block>.+?)(?=\n\n|\n*\Z)",
    re.DOTALL,
)


def filled(text: str) -> str:
    """A page with every marked block as the results have it."""

    def of_results(place: re.Match[str]) -> str:
        result = (ROOT / place["path"]).read_text(encoding="utf-8")
        blocks = re.split(r"\n\n+", result.strip())
        return place["mark"] + blocks[int(place["n"]) - 1]

    return PLACE.sub(of_results, text)


def main() -> None:
    """Fill the pages, or name those that are stale."""
    stale = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            stale.append(page.name)
            if "--check" not in sys.argv[1:]:
                page.write_text(filled(text), encoding="utf-8")
    if stale and "--check" in sys.argv[1:]:
        sys.exit(f"stale: {', '.join(stale)}; run python -m benchmarks.tables")


if __name__ == "__main__":
    main()
