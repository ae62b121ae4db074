"""Deriving points anew from the journal: what would be written had today's rules held then."""
