"""Payload codecs in JavaScript (LoRa Alliance TS013): an engine, its process, our side of it."""
