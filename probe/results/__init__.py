"""Results: a table with what is needed to read it, its figure, and its file."""
