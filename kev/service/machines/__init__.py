"""The machines of a service: who they are, what they print, what they may have, what is left of them."""
