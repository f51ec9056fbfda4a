"""How a service is reached, begins and ends: sockets, tokens, systemd, the HTTP server."""
