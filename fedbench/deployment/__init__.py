"""A federation between machines: what runs at a server, and what runs at a site."""
