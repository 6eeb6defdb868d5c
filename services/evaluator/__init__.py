"""The evaluator: pulls each version and measures it."""
