"""The audit for readers: in a terminal, as JSON, as a page with plots."""
