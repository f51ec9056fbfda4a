"""Schedules, benchmarks and launches on many processes: of this computer, or of a Dask scheduler's workers on others.

`kev.fleet.places.place` makes a place of what `--on` says; `kev.fleet.api` has what programs call.
"""
