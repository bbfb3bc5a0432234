"""Draw the figures and screenshots of the documentation."""
