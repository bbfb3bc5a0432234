"""Report what the labels have brought: learning curves, annotators, advice."""
