"""DOCX files: the current version of the text, written as Markdown."""
