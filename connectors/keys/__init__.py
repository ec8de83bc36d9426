"""Where a site's keys live."""
