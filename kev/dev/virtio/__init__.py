"""Virtio devices over MMIO and PCI (Virtual I/O Device, VIRTIO, version 1.2)."""

from kev.dev.virtio.block import VirtioBlock
from kev.dev.virtio.mmio import VirtioMmio

__all__ = ["VirtioBlock", "VirtioMmio"]
