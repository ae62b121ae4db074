"""Erasing a device from all that a stopped gateway keeps, and from its databases through their API."""
