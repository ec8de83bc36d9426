"""Engines that compute over the record's tables where one machine's embedded engine ends."""
