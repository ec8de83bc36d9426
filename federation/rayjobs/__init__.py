"""Ray's Jobs API over a federation: `ray job submit` as people know it, and the job lands beside its data."""
