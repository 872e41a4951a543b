"""From what is wanted and what is known to what every node and host should do.

Pure: `world` is the picture, `plan` what follows from it (`leases`, `placement` and
`removal` are its parts), `verdict` says how a sensor stands, `views` how all of it is
shown, `operations` what a host is asked for next, `absence` how long nodes are away.
Shells: `host_keeper`, `publisher`, `writer`, and `reconciler`, the loop around them.
"""
