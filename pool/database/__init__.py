"""The state of a pool in SQLite or PostgreSQL: plans, hand-outs, ledger, models and embeddings."""
