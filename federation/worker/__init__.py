"""What runs inside a job: its launcher, and what its code imports to read inputs and write outputs."""
