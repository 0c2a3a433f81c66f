"""The ledger: runs, run items, attempts and summaries; the only truth about what was sent."""
