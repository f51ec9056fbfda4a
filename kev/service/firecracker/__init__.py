"""Firecracker's API for one machine on one socket: what its clients start and steer Firecracker with, they can start kev with.

Names, status codes and messages are those of Firecracker's API, version 1.14 (firecracker-microvm/firecracker,
src/firecracker/swagger/firecracker.yaml).
"""
