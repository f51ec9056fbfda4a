"""Race tests of a host with several guests: who of its environments goes on is the schedule."""
