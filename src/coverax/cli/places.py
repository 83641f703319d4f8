"""Options that say where cases are worked on, and which of them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coverax.cli.common import note, usage_errors

if TYPE_CHECKING:
    from coverax.stream import Shard, Where

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)

Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="Processes of this machine; --threads is then for each. 0 for this one.",
    ),
]
DaskAddress = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        help="Dask scheduler, tcp://HOST:8786: its workers read the files.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="BYTES",
        help="Most bytes of volumes under way, as headers declare them: 8G, 500M.",
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do only part I of N, into the folder of parts -o, for coverax merge; auto "
        "takes both from an array job, auto/N the first.",
    ),
]

Parts = Annotated[
    Path | None,
    typer.Option(
        "--parts",
        metavar="DIR",
        help="Folder of parts that --shard filled: take the files from there.",
    ),
]


def place_of(workers: int, dask: str | None, memory: str | None) -> "Where":
    """Where cases are worked on; a wrong combination is a usage error."""
    from coverax.stream import Where

    with usage_errors():
        return Where(workers, dask, None if memory is None else parse_bytes(memory))


def shard_of(text: str | None) -> "Shard | None":
    """The shard that was asked for; says what was taken from the environment."""
    from coverax.stream import parse_shard

    if text is None:
        return None
    with usage_errors():
        shard, line = parse_shard(text)
    if line:
        note(line)
    return shard


def part_of(output: Path, shard: "Shard", suffix: str = "") -> Path:
    """Where the part of a shard goes in the folder of parts.

    Raises:
        FileExistsError: The folder is a file.
    """
    if output.exists() and not output.is_dir():
        raise FileExistsError(
            f"{output} is a file; with --shard name a folder of parts"
        )
    return output / f"{shard.name}{suffix}"


def home_of(output: Path, shard: "Shard | None", parts: Path | None) -> Path:
    """The folder that a run fills: a part of `output`, or `output` itself.

    Raises:
        FileExistsError: The folder of parts is a file.
    """
    if shard is None:
        return output
    if parts is not None:
        raise typer.BadParameter("give either --shard, or --parts of all shards")
    return part_of(output, shard)


def parse_bytes(text: str) -> int:
    """Bytes of `8G`, `500 MB`, `2GiB` or a plain number.

    Raises:
        ValueError: The text is none of these.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected bytes as 8G, 500M or 2GiB, got {text!r}")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)
