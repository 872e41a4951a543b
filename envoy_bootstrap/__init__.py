"""Envoy's bootstrap, its binary and its admin client."""
