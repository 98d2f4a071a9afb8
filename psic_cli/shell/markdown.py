"""Tables for pages that people read as they are."""

from collections.abc import Iterable


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown: a line for the columns' headings, and one for each row."""
    heading = list(columns)
    first, *others = (f"| {' | '.join(cells)} |" for cells in (heading, *rows))
    return "\n".join([first, "|---" * len(heading) + "|", *others]) + "\n"
