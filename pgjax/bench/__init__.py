"""The throughput benchmark."""
