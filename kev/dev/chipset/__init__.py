"""What a PC's chipset has besides: resets, power, configuration."""
