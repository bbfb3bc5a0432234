"""Find the best method for your own data: build a suite from it, and report advice."""
