"""A whole federation on one machine: its processes, Ray clusters and certificates, started and ended together."""
