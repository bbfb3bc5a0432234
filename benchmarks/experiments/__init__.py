"""Compare selection methods on labelled data: suites of cells, their tables and statistics."""
