"""The report's charts, one theme a file; each function gives a `Chart`, or None where there is nothing to draw."""
