"""Hypervisor hosts: drivers, the built-in lab and the guest agent."""
