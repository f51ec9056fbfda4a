"""The local APICs of a machine, one per vCPU (Intel SDM vol. 3, "Advanced programmable interrupt controller")."""

from kev.dev.interrupts.local_apic.local_apics import LocalApics
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.dev.interrupts.local_apic.wiring import ExternalInterrupts, ProcessorSignals

__all__ = ["DeliveryMode", "ExternalInterrupts", "InterruptMessage", "LocalApics", "ProcessorSignals"]
