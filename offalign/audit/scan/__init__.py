"""Reading data for the audit: every row once, an entry a completion."""
