"""The search for a selection that saves labels, by cheap measures: the instant head is the learner."""
