"""The public HTTP API under /v1, its OpenAPI document, and the first web page's server side."""
