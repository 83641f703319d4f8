"""A journal of finished records beside an output, so that an interrupted run resumes.

One JSON line a record, written as soon as it is there. The first line says what the
records mean; a journal of another meaning is not used. A torn last line is dropped.
"""

import json
from pathlib import Path
from typing import Any

from coverax.files import PathLike, publish_text


class Journal:
    """Finished records of one run, by key.

    Args:
        output: File or folder the run will publish; the journal lies beside it.
        meaning: What the records were computed with, JSON-able.
        resume: Keep the records of an earlier run with the same meaning.
    """

    def __init__(self, output: PathLike, meaning: Any, *, resume: bool):
        output = Path(output)
        self.path = output.with_name(f"{output.name}.partial.jsonl")
        self.records: dict[str, Any] = {}
        header = json.dumps({"meaning": meaning}, sort_keys=True)
        if resume and self.path.exists():
            self._load(header)
        lines = [header] + [self._line(k, v) for k, v in self.records.items()]
        publish_text(self.path, "\n".join(lines) + "\n")
        self._file = self.path.open("a", encoding="utf-8")

    def add(self, key: str, record: Any) -> None:
        """Write one finished record."""
        self.records[key] = record
        self._file.write(self._line(key, record) + "\n")
        self._file.flush()

    def close(self, *, keep: bool) -> None:
        """Close the journal; delete it unless it is kept for `--resume`."""
        self._file.close()
        if not keep or not self.records:
            self.path.unlink(missing_ok=True)

    def _load(self, header: str) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        if not lines or lines[0] != header:
            raise ValueError(
                f"{self.path} was written with other options; run without --resume"
            )
        for line in lines[1:]:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break
            self.records[entry["key"]] = entry["record"]

    @staticmethod
    def _line(key: str, record: Any) -> str:
        return json.dumps({"key": key, "record": record})
