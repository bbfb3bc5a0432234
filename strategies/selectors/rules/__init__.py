"""What selectors share: candidates, budgets, turns, and the result."""
