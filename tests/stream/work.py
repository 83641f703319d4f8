"""What workers of the tests do: functions that other processes can import."""

import os
import signal
import time
from pathlib import Path

from coverax.files import OutputError


def square(case):
    return case * case


def size(case):
    return case


def odd_fails(case):
    if case % 2:
        raise ValueError(f"odd: {case}")
    return case


def disk_is_full(case):
    if case == 3:
        raise OutputError(28, "No space left")
    return case


def three_kills(case):
    """The process ends in case 3, whoever has it."""
    time.sleep(0.01)
    if case == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return case


class KillsOnce:
    """The process ends in case 3 the first time."""

    def __init__(self, mark):
        self.mark = Path(mark)

    def __call__(self, case):
        if case == 3 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return case


def always_kills(_case):
    os.kill(os.getpid(), signal.SIGKILL)


class Noted:
    """Notes each case in a folder, and takes some time for it."""

    def __init__(self, folder, seconds):
        self.folder, self.seconds = Path(folder), seconds

    def __call__(self, case):
        (self.folder / f"{os.getpid()}-{case}").touch()
        time.sleep(self.seconds)
        return case
