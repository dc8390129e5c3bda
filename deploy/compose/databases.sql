-- When the server is made: a database for Dagster's records beside that of the results.
CREATE DATABASE dagster OWNER astra;
