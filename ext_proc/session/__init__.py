"""One sensor's HTTP stream: bytes of a body in, readings with verdicts and notes out. Pure."""
