"""`coverax merge`: the parts of all shards become what one process would have written."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import AsJson, check_not_input, note, show_progress
from coverax.cli.score import say_table

NAME = "merge"


def command(
    parts: Annotated[
        list[Path],
        typer.Argument(help="Folder of parts, or the parts of all shards themselves."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="What to write: scores.parquet.")
    ],
    as_json: AsJson = False,
) -> None:
    """Join the parts that --shard wrote, after checking that they are all there."""
    from coverax.files import check_output_file
    from coverax.scores import merge_parts

    check_output_file(output, ".parquet")
    found = parts_in(parts)
    check_not_input(output, *found)
    failures: list[str] = []
    with show_progress("Merging", len(found)) as on_part:
        table = merge_parts(
            found,
            beside=output,
            on_part=on_part,
            on_failure=failures.append,
            on_note=note,
        )
    table.write(output)
    say_table(table, output, failures, as_json)


def parts_in(paths: list[Path]) -> list[Path]:
    """The parts that are named, or that folders hold.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: A folder holds no part.
    """
    from coverax.stream import shard_of_name

    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such part or folder of parts")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        own = inside if path.is_file() else [p for p in inside if shard_of_name(p.name)]
        if not own:
            raise ValueError(
                f"{path}: holds no part of a shard (part-I-of-N.parquet, as --shard "
                "writes them)"
            )
        found += own
    return found
