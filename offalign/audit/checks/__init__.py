"""What the audit looks for in data; each check returns findings."""
