"""Plans: the picks of a round, made in the background and kept."""
