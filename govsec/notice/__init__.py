"""Messages that must reach people: a durable outbox, channels that look at the answer, and who is asked next."""
