"""Guided tours: what older teaching hypervisors have taught, with exercises that are checked by doing what is asked."""
