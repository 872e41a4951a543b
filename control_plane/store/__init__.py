"""Two stores: desired state in JetStream KV, and what people do in SQL.

`records` and `mirror` are pure; `bucket` watches and writes one KV bucket,
`desired` is the whole desired state, `accounts` the SQL repository.
"""
