"""Who may do what: the cluster's CA, join tokens, users and their roles. Pure rules and files; no database, no gRPC.

Words owned here: *authority* (the CA and what it signs), *join token*, *user*, *role*, *rule* (what a method asks of
its caller), *context* (the file with which a user's commands find and trust the coordinator).
"""
