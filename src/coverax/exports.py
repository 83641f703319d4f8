"""What a package offers: the names that its `__init__` gives, and no module files."""

from collections.abc import Callable, Mapping
from types import ModuleType


def exported(
    package: Mapping[str, object], *modules: str
) -> tuple[list[str], Callable[[], list[str]]]:
    """`__all__` and `__dir__` of a package.

    Args:
        package: Its `globals()`, at the end of its `__init__`.
        modules: Modules that are offered as such.
    """
    names = sorted(
        name
        for name, value in package.items()
        if not name.startswith("_")
        and value is not exported
        and (name in modules or not isinstance(value, ModuleType))
    )
    return names, lambda: list(names)
