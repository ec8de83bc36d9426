"""The methods of `Client`, by area: each area is a class of its own, and one that needs another's methods stands on it."""
