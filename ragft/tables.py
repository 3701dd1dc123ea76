"""Tables that people fill in with a spreadsheet: read as they come back, and written so that nothing is taken for a
formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ragft.errors import UsageError

LONGEST_CELL = 1 << 27
"""Characters; csv itself stops at 2^17, which an answer that stands in a row may exceed."""
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def table_rows(
    path: Path, what: str, key: str, *, otherwise: str | None = None, fault: Callable[[str], None] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """(`FILE, row N`, values by column) of a CSV file with a header, divided by commas, semicolons or tabs.

    Rows are numbered as a spreadsheet does: the header is row 1.

    Args:
        what: what the file holds, in the plural, for messages.
        key: what names the file.
        otherwise: encoding of a file that is neither UTF-8 nor marked as UTF-16; None: it is refused.
        fault: is told of rows with more or fewer cells than the header, and they are passed over; None: they are
            refused.

    Raises:
        UsageError: the file is missing, empty or of another encoding, or a row has more or fewer cells than the header.
    """
    text, _ = table_text(path, what, key, otherwise)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    header = next(iter(text.splitlines()), "")
    divider = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if len(set(names)) < len(names) or not all(names):
            raise UsageError(f"{path}, row 1: every column needs a name of its own.")
        number = 1
        for number, cells in enumerate(rows, start=2):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) == len(names):
                yield f"{path}, row {number}", dict(zip(names, cells, strict=True))
                continue
            wrong = f"{path}, row {number}: {len(cells)} cells where the header has {len(names)}."
            if fault is None:
                raise UsageError(wrong)
            fault(wrong)
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: no CSV ({error}).") from None
    if number == 1:
        raise UsageError(f"{path} holds no {what}: write a header, and one row for each.")


def table_text(path: Path, what: str, key: str, otherwise: str | None = None) -> tuple[str, str]:
    """The text of a table, and the encoding that it was found in; arguments and errors as for `table_rows`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"There is no file of {what} {str(path)!r}: name another as {key}.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): name a readable file as {key}.") from None
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    tried = [marked] if marked else ["utf-8", *([otherwise] if otherwise else [])]
    at = 0
    for encoding in tried:
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError as error:
            at = error.start
    raise UsageError(f"{path} is not UTF-8 text (byte {at}): save it as CSV in UTF-8.")


def table_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> bytes:
    """A table as CSV; it begins with a byte-order mark, by which spreadsheets know UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({name: cell_of(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8-sig")


def cell_of(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: such a text gets an apostrophe before it.

    >>> [cell_of(text) for text in ("-1", "'-1", "'tis")]
    ["'-1", "''-1", "'tis"]
    """
    return f"'{text}" if _is_formula(text) else text


def text_of_cell(cell: str) -> str:
    """The text of which `cell_of` made a cell.

    >>> [text_of_cell(cell) for cell in ("'-1", "''-1", "'tis")]
    ['-1', "'-1", "'tis"]
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def without_apostrophes(text: str) -> str:
    """What would be a formula, without the apostrophes before it, however many; other texts as they are."""
    return text.lstrip("'") if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(_FORMULAS)
