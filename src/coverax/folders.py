"""Output folders that appear whole, or not at all."""

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coverax.files import OutputError, PathLike, sync_folder
from coverax.locks import PARTIAL, WHOLE, beside, extended, locked


def check_output_folder(folder: PathLike) -> None:
    """Refuse an output folder that holds something already.

    Raises:
        FileExistsError: It is a file or holds anything.
    """
    folder = Path(folder)
    if folder.is_dir():
        if any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} exists and is not empty; name a new folder"
            )
    elif folder.exists():
        raise FileExistsError(f"{folder} exists and is not a folder")


@contextmanager
def whole_folder(output: PathLike) -> Iterator[Path]:
    """A folder to fill that takes the name `output` when all went well.

    Nothing is left of it after an error or an interrupt; what a killed run left is
    removed by the next.

    Raises:
        FileExistsError: `output` holds something already.
        BlockingIOError: Another run writes it.
        OutputError: It cannot be written.
    """
    output = Path(output)
    check_output_folder(output)
    with locked(output):
        start = glob.escape(f"{beside(output, '').name}.")
        for leftover in output.parent.glob(f"{start}*{WHOLE}"):
            shutil.rmtree(leftover, ignore_errors=True)
        filled = beside(output, f".{secrets.token_hex(6)}{WHOLE}")
        filled.mkdir()
        try:
            yield filled
            publish_folder(filled, output)
        finally:
            shutil.rmtree(filled, ignore_errors=True)


def partial_folder(output: PathLike) -> Path:
    """Where an output folder that can be resumed is filled."""
    output = Path(output)
    return extended(output, PARTIAL)


def publish_folder(filled: PathLike, output: PathLike) -> None:
    """Give a filled folder its name; an empty folder of that name gives way.

    Raises:
        OutputError: Something has appeared under that name meanwhile.
    """
    filled, output = Path(filled), Path(output)
    for below, _, _ in os.walk(filled):
        sync_folder(Path(below))
    try:
        filled.replace(output)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot take its name ({error.strerror}); clear it"
        ) from None
    sync_folder(output.parent)
