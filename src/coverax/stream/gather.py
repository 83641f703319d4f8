"""The end of every pass over cases: what was found, and what becomes of the failures."""

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from coverax.shown import plural
from coverax.stream.threads import Outcome

C = TypeVar("C", bound=Hashable)


def gather(
    outcomes: Iterable[Outcome],
    cases: Sequence[C],
    take: Callable[[C, Any], None],
    *,
    name: Callable[[C], str] = str,
    allow_missing: bool = False,
    even_all: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _line: None,
) -> dict[C, str]:
    """Take what was found of each case; all are tried before a failure is reported.

    Args:
        outcomes: What became of the cases, in any order; some may have been done before.
        cases: All cases of the run; failures are told in their order.
        take: Called with a case and its value as soon as both are there.
        name: The id of a case, for messages.
        allow_missing: Leave out the cases that failed, unless all did.
        even_all: With `allow_missing`, all may fail: others have other cases.
        on_case: Called once an outcome, for progress.
        on_failure: Called with a line for each case that is left out.

    Returns:
        Why each case failed that was left out.

    Raises:
        ExceptionGroup: Cases failed; one exception each, naming the case.
    """
    why: dict[C, str] = {}
    try:
        for case, value, error in outcomes:
            on_case()
            if error is None:
                take(case, value)
            else:
                why[case] = str(error)
    finally:
        # Whoever tidies up after an error must find no case still at work.
        if isinstance(outcomes, Generator):
            outcomes.close()
    failures = {case: why[case] for case in cases if case in why}
    lines = [(name(case), reason) for case, reason in failures.items()]
    if not (allow_missing and even_all):
        _check_failures(lines, len(cases), allow_missing=allow_missing)
    for case_id, reason in lines:
        on_failure(f"left out: case {case_id}: {reason}")
    return failures


def check_failures(failures: Mapping[str, str], n_cases: int) -> None:
    """Refuse a run of which cases failed.

    Raises:
        ExceptionGroup: One exception each, naming the case.
    """
    _check_failures(list(failures.items()), n_cases, allow_missing=False)


def _check_failures(
    lines: Sequence[tuple[str, str]], n_cases: int, *, allow_missing: bool
) -> None:
    if lines and not (allow_missing and len(lines) < n_cases):
        raise ExceptionGroup(
            f"{len(lines)} of {plural(n_cases, 'case')} failed",
            [ValueError(f"case {case_id}: {why}") for case_id, why in lines],
        )
