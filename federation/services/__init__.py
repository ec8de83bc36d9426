"""The use cases over ports. Each function works inside one transaction that it is handed, and begins none of its own.

What is decided is decided by the core; here it is looked up, stored, and told in an event, all in that transaction. Nothing
here knows gRPC, SQL, Ray or the clock: the time of a change is its transaction's.
"""
