"""The numerical parts of selectors: clusters, distances, densities, entropies."""
