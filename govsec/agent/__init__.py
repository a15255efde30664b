"""A supervisor of modules: budgets, queues, spool, reload, self-test. It knows no sensor."""
