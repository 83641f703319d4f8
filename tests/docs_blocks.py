"""The code blocks of the pages, and what the words of a command line name."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Pages whose blocks are looked at; cli.md is made from the commands and has none.
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)\s*$")
MARK = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block; `reason` says why it is not run, if it is not."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each command line, comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [each for each in words if each]


def blocks_of(path: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found, lines = [], path.read_text(encoding="utf-8").splitlines()
    name, i = path.relative_to(ROOT).as_posix(), 0
    while i < len(lines):
        opened = FENCE.match(lines[i])
        if opened is None:
            i += 1
            continue
        end = next(j for j in range(i + 1, len(lines)) if lines[j].strip() == "```")
        text = "\n".join(x.removeprefix(opened["indent"]) for x in lines[i + 1 : end])
        mark = MARK.match(lines[i - 1]) if i else None
        reason = mark["reason"] if mark else None
        found.append(Block(name, i + 1, opened["language"], text + "\n", reason))
        i = end + 1
    return found


BLOCKS = [block for path in PAGES for block in blocks_of(path)]
