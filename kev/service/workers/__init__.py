"""Machines in processes of their own, forked from one that has everything imported: see `kev.service.workers.homes`."""
