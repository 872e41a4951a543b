"""The rules that the control plane sent."""

from __future__ import annotations

from wire.gen.gaugeway.config.v1 import config_pb2


class RulesInForce:
    """Every rule by id. Not known before the control plane has said something of rules.

    Attributes:
        version: Rises with every change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._rules: dict[str, config_pb2.Rule] = {}

    def heard(self) -> bool:
        """Note that what is here is all there is; return whether that is news."""
        news = self.version == 0
        self.version = max(self.version, 1)
        return news

    def put(self, rule: config_pb2.Rule) -> None:
        """Have a rule be in force."""
        self._rules[rule.id] = rule
        self.version += 1

    def remove(self, rule_id: str) -> None:
        """Have a rule be in force no more."""
        self._rules.pop(rule_id, None)
        self.version += 1

    def rules(self) -> config_pb2.RuleSet | None:
        """Return all of them by id; None while they are not known."""
        if not self.version:
            return None
        return config_pb2.RuleSet(rules=[rule for _, rule in sorted(self._rules.items())])
