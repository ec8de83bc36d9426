"""Prices that are shipped with the federation. Figures only; `adapters.prices` reads them."""
