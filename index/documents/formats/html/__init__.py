"""HTML pages: what a reader of the page sees, written as Markdown."""
