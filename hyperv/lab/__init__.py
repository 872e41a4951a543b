"""The built-in host: guest agents as local processes on addresses of their own (127.x.y.z)."""
