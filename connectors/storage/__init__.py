"""Where a site's encrypted objects lie, and where its data may be ingested from."""
