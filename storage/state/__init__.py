"""What ButlerQL itself remembers of a repository: jobs, what they found, checksums. Never in the Butler's tables."""
