"""What travels: identifiers, names, frames, journal records and status messages.

The bottom layer. Everything here is pure: no sockets, no clock, no awaiting.
"""
