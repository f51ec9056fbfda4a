"""Virtio devices over MMIO and PCI (Virtual I/O Device, VIRTIO, version 1.2)."""

from kev.dev.storage.virtio.block import VirtioBlock
from kev.dev.storage.virtio.mmio import VirtioMmio

__all__ = ["VirtioBlock", "VirtioMmio"]
