"""How data, keys, manifests and grants are sealed and checked. Pure functions over bytes; no file, no network, no clock."""
