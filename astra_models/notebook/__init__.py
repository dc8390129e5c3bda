"""How rows, models and queries look: one line of text each, and HTML in a notebook."""
