"""What is seen of a run: status, reports, round times."""
