"""The follower: holds one long GET a sensor open through Envoy, and owns its end."""
