"""Deliver to BigQuery tables with the Storage Write API."""
