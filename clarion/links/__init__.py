"""Links in messages: short signed URLs, redirects that count clicks, and the unsubscribe page."""
