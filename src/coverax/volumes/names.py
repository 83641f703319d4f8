"""Names that come from outside: of cases, units, groups, regions, raters, columns.

They end in tables, messages and file names, so they are looked at where they enter.
"""

from pathlib import Path

_MOST = 200  # letters; names of files hold 255 bytes, suffixes among them


def check_name(what: str, name: str) -> str:
    """Return a name; refuse one that a terminal or a table cannot show.

    Raises:
        ValueError: It is empty, very long or holds control characters.
    """
    if not name:
        raise ValueError(f"{what} is empty")
    if not name.isprintable():
        raise ValueError(f"{what} {name!r:.80} holds characters that cannot be printed")
    if len(name) > _MOST:
        raise ValueError(f"{what} {name:.40}... is longer than {_MOST} letters")
    return name


def check_case_id(name: str) -> str:
    """Return a case id; refuse one that cannot name a file.

    Raises:
        ValueError: It is empty, very long, starts with a dot, or holds a path separator
            or control characters.
    """
    is_one_part = Path(name).name == name and not set(name) & {"/", "\\"}
    if not is_one_part or not name.isprintable() or name.startswith("."):
        raise ValueError(f"case_id {name!r:.80} cannot name a file")
    return check_name("case_id", name)


def some_names(names, most: int = 3) -> str:
    """The first names, and how many more there are."""
    listed = [str(name) for name in names]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")
