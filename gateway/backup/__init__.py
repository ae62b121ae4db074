"""Backup and restore of all that a gateway keeps."""
