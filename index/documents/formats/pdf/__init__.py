"""PDF files: lines, columns, tables and headings from what is placed on each page."""
