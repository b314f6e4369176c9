#!/bin/sh
# Run once by the image of PostgreSQL, when it makes its data directory: a database
# for Gatehouse, and a role that owns it and nothing else.
set -eu
# The password comes by a variable of psql, from a file: it is on no command line.
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'END'
\set password `cat /run/secrets/gatehouse_password`
create role gatehouse login password :'password';
create database gatehouse owner gatehouse template template0 encoding 'UTF8';
revoke all on database gatehouse from public;
END
