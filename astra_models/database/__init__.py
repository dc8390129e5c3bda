"""Finding the database, connecting to it, and speaking to PostgreSQL and SQLite alike."""
