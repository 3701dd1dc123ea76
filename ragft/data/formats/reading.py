"""Files of other tools, row by row: JSON Lines, a JSON array, CSV, Parquet, and folders of Hugging Face's datasets.

Memory holds one row, or one batch of a columnar file. A row that cannot be read is given as the reason, and those
behind it are read all the same.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from index.documents.formats.delimited import separator_of
from index.documents.formats.encoding import decode
from index.documents.formats.settings import Unreadable
from ragft.data.jsonl import each_line, object_at
from ragft.errors import UsageError
from ragft.tables import LONGEST_CELL

Read = tuple[str, "dict[str, Any] | str"]
"""The place of a row, as in `FILE, line N`, and its fields, or why it cannot be read."""

_KEY = "FILE"
_CSV_SUFFIXES, _COLUMNAR = (".csv", ".tsv"), (".parquet", ".arrow")
_WHOLE = 256 << 20
"""Bytes up to which a CSV file is decoded as a whole, so that its encoding can be told; a longer one must be UTF-8."""
_BATCH = 256
SAMPLE = 50
"""Rows by which a file is known: its layout, and which columns it has where no header says so."""
_LISTS = ("sources", "tags")
_WHOLE_NUMBER = re.compile(r"\s*\d{1,9}(?:\.0+)?\s*")
_DEEPEST = 100
"""Levels of a row of a JSON array; deeper ones are no data, and Python cannot write them again."""
_BEGINNINGS, _ENDS = ("start_map", "start_array"), ("end_map", "end_array")


def rows_in(path: Path, form: str, split: str | None, names: Mapping[str, str]) -> Iterator[Read]:
    """The rows of a file or folder.

    Args:
        form: `csv` or `hf` where the user says so; anything else is told by the path.
        split: of a folder with several.
        names: the columns that hold ragft's fields, by field.

    Raises:
        UsageError: the file is missing, or not what it seems to be; several splits and none named.
    """
    if path.is_dir() or form == "hf" or path.suffix.lower() in _COLUMNAR:
        read = _datasets_rows(path, split)
    elif split is not None:
        raise UsageError(f"--split names a split of a folder, and {path} is a file: leave it out.")
    elif form == "csv" or path.suffix.lower() in _CSV_SUFFIXES:
        return _csv_rows(path, names)
    else:
        read = _json_rows(path)
    return read if not names else _renamed(read, names, path)


def fields_named(text: str) -> dict[str, str]:
    """What `--map` says: columns by the field of ragft that they hold.

    Raises:
        UsageError: it is not `field=COLUMN,...`.
    """
    names: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, column = part.partition("=")
        if not equals or not name.strip() or not column.strip() or name.strip() in names:
            raise UsageError(f"--map is {text!r}: write question=COLUMN,answer=COLUMN, each field once.")
        names[name.strip()] = column.strip()
    return names


def _renamed(read: Iterator[Read], names: Mapping[str, str], path: Path) -> Iterator[Read]:
    """Rows whose columns have the names of the fields that they hold; others keep theirs, but for a name taken."""
    first = list(islice(read, SAMPLE))
    found = dict.fromkeys(name for _, values in first if isinstance(values, dict) for name in values)
    if found:
        _refuse_unknown(path, names, list(found))
    for where, values in chain(first, read):
        if isinstance(values, str):
            yield where, values
        else:
            renamed = {_field(column, names): _listed(_field(column, names), value) for column, value in values.items()}
            yield where, {name: value for name, value in renamed.items() if name}


def _field(column: str, names: Mapping[str, str]) -> str:
    """The field that a column holds; empty where another column was named for it."""
    return next((name for name, named in names.items() if named == column), "" if column in names else column)


def _refuse_unknown(path: Path, names: Mapping[str, str], columns: Sequence[str]) -> None:
    if missing := [column for column in names.values() if column not in columns]:
        raise UsageError(
            f"{path} has no column {missing[0]!r}, which --map names; it has {', '.join(map(repr, columns))}."
        )


# --- JSON


def _json_rows(path: Path) -> Iterator[Read]:
    try:
        with path.open("rb") as file:
            head = file.read(3)
            if head.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UsageError(f"{path} is UTF-16 text: save it as UTF-8.")
            file.seek(3 if head == b"\xef\xbb\xbf" else 0)
            first = next((byte for line in file for byte in line.strip()[:1]), None)
            if first == ord("["):
                file.seek(3 if head == b"\xef\xbb\xbf" else 0)
                yield from _array(path, file)
                return
    except OSError as error:
        raise _unreadable(path, error) from None
    for line in each_line(path, "rows", _KEY):
        where = f"{path}, line {line.number}"
        try:
            yield where, object_at(line.raw, where)
        except UsageError as error:
            yield where, _reason(error, where)


def _array(path: Path, file: BinaryIO) -> Iterator[Read]:
    import ijson

    number = 0
    try:
        for number, values in enumerate(_items(file), start=1):
            yield f"{path}, row {number}", values
    except ijson.JSONError as error:
        if "UTF8" in str(error):
            raise UsageError(f"{path} is not UTF-8 text behind row {number}: save it as UTF-8.") from None
        told = " ".join(str(error).split())[:120]
        raise UsageError(f"{path} is no JSON behind row {number} ({told}): correct it there.") from None


def _items(file: BinaryIO) -> Iterator[dict[str, Any] | str]:
    """The objects of an array, or why an item is none; `ijson.items` keeps a path for each level, 1 GB for 20,000."""
    import ijson

    builder, depth, deepest = ijson.ObjectBuilder(), 0, 0
    for event, value in islice(ijson.basic_parse(file, use_float=True), 1, None):
        depth += (event in _BEGINNINGS) - (event in _ENDS)
        if depth < 0:
            continue  # the end of the array; what follows it is an error
        deepest = max(deepest, depth)
        if deepest <= _DEEPEST:
            builder.event(event, value)
        if depth == 0:
            if deepest > _DEEPEST:
                yield f"it is nested more than {_DEEPEST} levels deep"
            elif isinstance(builder.value, dict):
                yield builder.value
            else:
                yield f"it is no object, but a {type(builder.value).__name__}"
            builder, deepest = ijson.ObjectBuilder(), 0


# --- CSV


def _csv_rows(path: Path, names: Mapping[str, str]) -> Iterator[Read]:
    try:
        size = path.stat().st_size
        with path.open("rb") as raw:
            if size <= _WHOLE:
                yield from _cells(path, io.StringIO(decode(raw.read()), newline=""), names)
            else:
                yield from _cells(path, io.TextIOWrapper(raw, "utf-8-sig", newline=""), names)
    except Unreadable as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is longer than {_WHOLE >> 20} MiB and not UTF-8: save it as UTF-8.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _cells(path: Path, text: io.TextIOBase, names: Mapping[str, str]) -> Iterator[Read]:
    sample = text.read(1 << 16)
    text.seek(0)
    above, separator = separator_of(sample, path.suffix)
    if above:
        text.readline()
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    reader = csv.reader(text, delimiter=separator, strict=True)
    header: list[str] | None = None
    begin = above + 1
    try:
        for cells in reader:
            where, begin = f"{path}, line {begin}", reader.line_num + above + 1
            if not any(map(str.strip, cells)):
                continue
            if header is None:
                header = _header(path, [cell.strip() for cell in cells])
                _refuse_unknown(path, names, header)
                header = [_field(column, names) for column in header]
            elif len(cells) != len(header):
                yield where, f"it has {len(cells)} cells, and the first line names {len(header)} columns"
            else:
                filled = {name: cell for name, cell in zip(header, cells, strict=True) if name and cell.strip()}
                yield where, {name: _listed(name, value) for name, value in filled.items()}
    except csv.Error as error:
        raise UsageError(f"{path}, line {begin}: not valid CSV ({error}): correct it there.") from None
    if header is None:
        raise UsageError(f"{path} holds no rows: write a line of column names and a line for each example.")


def _header(path: Path, names: list[str]) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not all(names):
        told = f"names {twice!r} twice" if twice else "leaves a column without a name"
        raise UsageError(f"{path}: the first line {told}: give each column a name of its own.")
    return names


def _listed(name: str, value: Any) -> Any:
    """What a column holds; in columns of lists a JSON list, or texts with semicolons between them; as `weight` a
    number.
    """
    if name == "weight" and isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(float(value))
    if name not in _LISTS or not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return [part.strip() for part in value.split(";") if part.strip()]


# --- Hugging Face


def _datasets_rows(path: Path, split: str | None) -> Iterator[Read]:
    files = _files_of(path, split)
    for file in files:
        batches = _parquet(file) if file.suffix.lower() == ".parquet" else _arrow(file)
        number = 0
        try:
            for batch in batches:
                for values in batch:
                    number += 1
                    # Columns of other rows are null here, and dates are no JSON.
                    own = {name: value for name, value in values.items() if value is not None}
                    yield f"{file}, row {number}", json.loads(json.dumps(own, default=str))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {' '.join(str(error).split())[:160]}.") from None


def _files_of(path: Path, split: str | None) -> list[Path]:
    """The files of one split: as `save_to_disk` writes them, or as the Hub stores them."""
    if not path.exists():
        raise UsageError(f"There is no file or folder {str(path)!r}.")
    if path.is_file():
        return [path]
    splits = _saved_splits(path) or _stored_splits(path)
    if not splits:
        raise UsageError(
            f"{path} holds neither a dataset that save_to_disk wrote nor Parquet or Arrow files: name a file."
        )
    if split is None and len(splits) > 1:
        raise UsageError(f"{path} has several splits: name one with --split: {', '.join(sorted(splits))}.")
    wanted = next(iter(splits)) if split is None else split
    if wanted not in splits:
        raise UsageError(f"{path} has no split {wanted!r}: it has {', '.join(sorted(splits))}.")
    return splits[wanted]


def _saved_splits(path: Path) -> dict[str, list[Path]]:
    def of(folder: Path) -> list[Path]:
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            return [folder / str(one["filename"]) for one in state["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    try:
        named = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        return {str(name): of(path / str(name)) for name in named}
    except (OSError, ValueError, KeyError, TypeError):
        return {"train": files} if (files := of(path)) else {}


def _stored_splits(path: Path) -> dict[str, list[Path]]:
    """Files by the split that the Hub reads from their names: `train-00000-of-00002.parquet`, `test/part.parquet`."""
    splits: dict[str, list[Path]] = {}
    for file in sorted(file for suffix in _COLUMNAR for file in path.rglob(f"*{suffix}")):
        stem = file.stem.split("-0")[0] if "-of-" in file.stem else file.stem
        inside = file.parent != path and file.parent.name != "data" and stem.isdigit()
        splits.setdefault(file.parent.name if inside else stem, []).append(file)
    return splits


def _parquet(file: Path) -> Iterator[list[dict[str, Any]]]:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(file).iter_batches(_BATCH):
        yield batch.to_pylist()


def _arrow(file: Path) -> Iterator[list[dict[str, Any]]]:
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        try:
            batches = iter(pyarrow.ipc.open_stream(source))
        except pyarrow.ArrowInvalid:
            reader = pyarrow.ipc.open_file(source)
            batches = (reader.get_batch(place) for place in range(reader.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH):
                yield batch.slice(start, _BATCH).to_pylist()


def _reason(error: UsageError, where: str) -> str:
    return str(error).removeprefix(f"{where}: ").rstrip(".")


def _unreadable(path: Path, error: OSError) -> UsageError:
    if isinstance(error, FileNotFoundError):
        return UsageError(f"There is no file or folder {str(path)!r}.")
    return UsageError(f"{path} cannot be read ({error.strerror}).")
