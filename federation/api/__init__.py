"""The catalog server's edge: who may call, what a repeated call is answered, pages, and one servicer for each service."""
