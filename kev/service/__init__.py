"""The service: machines that are asked for over HTTP, each in a worker process of its own."""
