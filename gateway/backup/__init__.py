"""Backup and restore of all that a gateway keeps, and the erasure of a device from it."""
