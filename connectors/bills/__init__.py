"""Providers' bills, one module for each provider."""
