"""How a question is answered: the batch engine and a loader for each field."""
