"""Rules: when an event of a series begins, and when it ends. A pure fold of the same log as windows.

Readings become runs (runs.py). Each rule in force has an evaluator of its kind
(evaluators.py), which turns runs, or the time of the log, into beginnings and
endings, and keeps its state by lane (lanes.py). What is said of them is made in
events.py. An anomaly scorer belongs beside the kinds: an evaluator whose signal
is a score goes through the same hysteresis (hysteresis.py), and its events,
ids and checkpoints follow by themselves.
"""
