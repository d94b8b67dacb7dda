"""Device meshes, sharding, several processes, and signals that end a run."""
