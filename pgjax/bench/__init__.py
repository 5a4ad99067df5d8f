"""The throughput benchmark: how fast training is, and what limits it."""
