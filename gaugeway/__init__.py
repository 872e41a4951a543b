"""The command line and the one-machine supervisor: the top layer, which wires the houses together."""
