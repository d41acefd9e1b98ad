"""Real peers: Postfix, swaks, curl, msmtp, network namespaces, and the real server process under test."""
