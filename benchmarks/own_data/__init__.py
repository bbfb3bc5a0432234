"""Find the method for a pool of one's own: a suite made of its data, and a report with advice."""
