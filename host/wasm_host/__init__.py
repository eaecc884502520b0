"""The host: accepts clients, has an enclave started for each, and relays what it cannot read.

It is trusted with nothing but availability, so it imports neither the runtime nor any cryptography: of the
channel it knows that a stream is cut into records, and only to say in plain that no enclave is free.
"""
