"""A site: its agent, its gateway, and the runs, writes and transfers that they see to."""
