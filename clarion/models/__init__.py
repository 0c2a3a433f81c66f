"""What a person writes down: jobs, actions, lists, credentials, as strict models."""
