"""Many samples: finding files and wells, matching clusters, and the engine that spreads the work."""
