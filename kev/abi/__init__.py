"""Guest ABIs: what a guest and the hypervisor it is made for have agreed upon. One ABI per file."""
