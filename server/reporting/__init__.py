"""Reports on the effect of labelling: learning curves, annotators, advice."""
