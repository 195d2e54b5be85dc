"""Stand-ins for the clouds' metadata services.

They speak the clouds' own HTTP and sign documents in the clouds' own byte shapes, with throw-away keys
that a CA believes only when an operator gives it their certificates.
"""
