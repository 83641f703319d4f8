"""Names that come from outside: of cases, units, groups, regions, raters, columns.

They end in tables, messages and file names, so they are looked at where they enter, and
go on in one Unicode form: names that a reader takes for one are one.
"""

from pathlib import Path

from coverax.checks import normal_form

_MOST = 200  # letters; names of files hold 255 bytes, suffixes among them


def check_name(what: str, name: str) -> str:
    """Return a name in its normal form; refuse one that nothing can show.

    Raises:
        ValueError: It is empty, very long or holds control characters.
    """
    if not name:
        raise ValueError(f"{what} is empty")
    if not name.isprintable():
        raise ValueError(f"{what} {name!r:.80} holds characters that cannot be printed")
    if len(name) > _MOST:
        raise ValueError(f"{what} {name:.40}... is longer than {_MOST} letters")
    return normal_form(name)


def check_case_id(name: str) -> str:
    """Return a case id in its normal form; refuse one that cannot name a file.

    Raises:
        ValueError: It is empty, very long, starts with a dot, or holds a path separator
            or control characters.
    """
    is_one_part = Path(name).name == name and not set(name) & {"/", "\\"}
    if not is_one_part or not name.isprintable() or name.startswith("."):
        raise ValueError(f"case_id {name!r:.80} cannot name a file")
    return check_name("case_id", name)


def other_spelling(name: str, other: str) -> str:
    """A clause for two names that look like one and are, in Unicode, two spellings."""
    is_one = name != other and normal_form(name) == normal_form(other)
    return " (one name in two Unicode forms: rename one)" if is_one else ""


def some_names(names, most: int = 3) -> str:
    """The first names, and how many more there are."""
    listed = [str(name) for name in names]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")
