"""Rules shared by selectors: candidates, budgets, turns, and the result."""
