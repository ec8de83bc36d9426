"""The catalog on a full screen of a terminal, for people: `fed browse`. It looks, as whoever opened it, and changes nothing."""
