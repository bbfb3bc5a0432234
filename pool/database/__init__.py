"""The pool's state in SQLite or PostgreSQL: plans, hand-outs, ledger, models and features."""
