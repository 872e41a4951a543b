"""The web page's static files: served by control_plane.api.pages, no build step."""
