"""Planning: memory, FLOPs and traffic of a train step before it runs."""
