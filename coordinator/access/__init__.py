"""Who may do what: join tokens, users and their roles."""
