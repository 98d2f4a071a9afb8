"""Help pages that show what a person types and nothing of Python: no <bool> beside a switch, no <list[str]> at a file.

`Command` and `Group` are for `cls=` of Typer's commands and groups.
"""

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

# Any, because Typer keeps the classes of contexts and parameters to itself.


class Command(TyperCommand):
    """A command with such a page."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """Several commands with such a page."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperArgument):  # its name says what it is, FILE or NAME
            parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
        elif isinstance(parameter, TyperOption) and (parameter.is_flag or parameter.count):
            parameter.metavar = ""
    return parameters
