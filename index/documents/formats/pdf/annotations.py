"""What people filled in and typed onto a PDF: values of form fields, check boxes, and notes.

These are no part of a page's own text. A value is placed as a piece of a line, so that it comes to stand beside its
label; a note is placed as a line of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pypdfium2.raw as raw

from index.documents.formats.pdf.characters import Box
from index.documents.formats.pdf.lines import Line

_NOTES = (raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_TEXT)
_TEXT_FIELDS = (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX)
_CHECKED_FIELDS = (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON)
_CHECKED, _UNCHECKED = "[x]", "[ ]"
_OFF = "Off"
_NOT_SHOWN = raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_USUAL_SIZE = 10.0


def with_annotations(page: Any, form: Any, lines: Sequence[Line]) -> list[Line]:
    """The lines of an upright page with the values of its fields and its notes put where they stand.

    Args:
        form: PDFium's handle of the document's form; None if it has none.
    """
    placed = list(lines)
    for number in range(raw.FPDFPage_GetAnnotCount(page.raw)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, number)
        if not annotation:
            continue
        try:
            text, is_field = _written(annotation, form)
            if text and not raw.FPDFAnnot_GetFlags(annotation) & _NOT_SHOWN:
                _place(text, _box(annotation), is_field, placed)
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
    return placed


@contextmanager
def opened_form(pdf: Any) -> Iterator[Any]:
    """PDFium's handle of the document's form; None without one. Nothing of it is run or drawn."""
    if pdf.get_formtype() == raw.FORMTYPE_NONE:
        yield None
        return
    callbacks = raw.FPDF_FORMFILLINFO(version=2)
    form = raw.FPDFDOC_InitFormFillEnvironment(pdf.raw, ctypes.byref(callbacks))
    try:
        yield form or None
    finally:
        if form:
            raw.FPDFDOC_ExitFormFillEnvironment(form)


def _written(annotation: Any, form: Any) -> tuple[str, bool]:
    """The text of a note, or the value of a field, and whether it is a field."""
    kind = raw.FPDFAnnot_GetSubtype(annotation)
    if kind in _NOTES:
        return _string(lambda *room: raw.FPDFAnnot_GetStringValue(annotation, b"Contents", *room)), False
    if kind != raw.FPDF_ANNOT_WIDGET or form is None:
        return "", True
    field = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if field in _CHECKED_FIELDS:
        return _CHECKED if _is_checked(annotation, form) else _UNCHECKED, True
    if field in _TEXT_FIELDS:
        return _string(lambda *room: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *room)), True
    return "", True


def _is_checked(annotation: Any, form: Any) -> bool:
    """Whether a box is checked; where the file does not draw its states, whether it names another one than `Off`."""
    if raw.FPDFAnnot_HasKey(annotation, b"AP"):
        return bool(raw.FPDFAnnot_IsChecked(form, annotation))
    state = _string(lambda *room: raw.FPDFAnnot_GetStringValue(annotation, b"AS", *room))
    value = _string(lambda *room: raw.FPDFAnnot_GetStringValue(annotation, b"V", *room))
    return (state or value) not in ("", _OFF)


def _string(fill: Callable[..., int]) -> str:
    """A text that PDFium writes into a buffer of the length that it asks for."""
    length = fill(None, 0)
    codes = (ctypes.c_ushort * (length // 2 + 1))()
    fill(codes, length)
    text = bytes(codes)[: max(length - 2, 0)].decode("utf-16-le", "replace")
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _box(annotation: Any) -> Box:
    rectangle = raw.FS_RECTF()
    raw.FPDFAnnot_GetRect(annotation, ctypes.byref(rectangle))
    low, high = sorted((rectangle.bottom, rectangle.top))
    left, right = sorted((rectangle.left, rectangle.right))
    return Box(left, low, right, high)


def _place(text: str, box: Box, is_field: bool, lines: list[Line]) -> None:
    """Insert a line: after what stands to the left of it if it is a field, else before what stands below it."""
    beside = [
        place
        for place, line in enumerate(lines)
        if is_field and box.bottom < line.baseline + 0.4 * line.size < box.top and line.box.left <= box.left + 1.0
    ]
    if beside:
        label = lines[beside[-1]]
        value = Line.at(text, max(box.left, label.box.right), box.right, label.baseline, label.size, row=label.row)
        lines.insert(beside[-1] + 1, value)
        return
    size = min(max(box.top - box.bottom, 1.0), _USUAL_SIZE)
    note = Line.at(text, box.left, box.right, box.top - 0.8 * size, size, row=-1 - len(lines))
    below = (place for place, line in enumerate(lines) if line.box.top <= note.box.bottom + 1.0)
    lines.insert(next(below, len(lines)), note)
