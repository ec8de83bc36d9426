"""What the ports are made of here: databases, Delta tables, engines, clocks, and their versions in memory."""
