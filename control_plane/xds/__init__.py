"""The ADS server: one snapshot a node goes out, what the node says to it comes back.

`subscription` and `session` decide (pure), `delta` translates Envoy's Delta
messages, `cache` holds snapshots and connected nodes, `server` is the socket.
"""
