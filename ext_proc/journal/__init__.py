"""The journal of a shard: assembling records, fenced appends, recovery, reading back.

wire/journal.py states the invariants that these modules keep.
"""
