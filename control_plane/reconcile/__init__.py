"""From what is wanted and what is known to what every node and host should do.

Pure: `world` is the picture, `plan` what follows from it (`leases`, `placement`, `removal`
and `wishes` are its parts, `roster` says which sensors a change concerns), `verdict` says
how a sensor stands, `views` how all of it is shown, `operations` what a host is asked for
next, `presence` how long nodes are here or away, `versions` what an Envoy's version holds.
`engine` makes one step: `nodes` reads the ADS server's cache, `publisher` writes it.
Shells: `host_keeper`, `writer`, and `reconciler`, the loop around them.
"""
