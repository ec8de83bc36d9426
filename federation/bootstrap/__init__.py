"""The only wiring: of a server, and of a site's agent, each importing what it needs and no more."""
