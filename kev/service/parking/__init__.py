"""Paused machines that nobody touches become files: see `kev.service.parking.homes`."""
