"""What both sides of Rallypoint need and nothing else: protocol, TLS and channel options, error details, join tokens.

Words owned here: *pin* (hash of the CA's public key, carried by a join token), *reason* (the machine-readable part of
an error), *host URI* (how a certificate names a host).
"""
