-- +goose Up

-- The same changes as for PostgreSQL. SQLite cannot change a foreign key, so
-- the tables that had one are made again; no table refers to them.

ALTER TABLE events ADD COLUMN outcome text NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN address text NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN user_agent text NOT NULL DEFAULT '';
CREATE INDEX events_user_id ON events (user_id, id) WHERE user_id <> '';
CREATE INDEX events_occurred_at ON events (occurred_at);

-- second_factor says whether the user has a row in totps.
ALTER TABLE users ADD COLUMN second_factor boolean NOT NULL DEFAULT false;
CREATE INDEX users_pending ON users (updated_at) WHERE status = 'pending';

CREATE TABLE totps (
    user_id      text PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed       blob NOT NULL,
    last_step    integer NOT NULL,
    created_at   timestamp NOT NULL,
    last_used_at timestamp,
    failures     integer NOT NULL,
    failed_at    timestamp
);

-- A code that is spent has no row.
CREATE TABLE recovery_codes (
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    mac     blob NOT NULL,
    PRIMARY KEY (user_id, mac)
);

-- What is a user's goes with the user. Only grants stay, revoked, and refer to
-- no row any more.
CREATE TABLE new_passwords (
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    seq        integer NOT NULL,
    hash       text NOT NULL,
    created_at timestamp NOT NULL,
    PRIMARY KEY (user_id, seq)
);
INSERT INTO new_passwords SELECT * FROM passwords;
DROP TABLE passwords;
ALTER TABLE new_passwords RENAME TO passwords;

CREATE TABLE new_consents (
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id  text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    scopes     text NOT NULL,
    granted_at timestamp NOT NULL,
    PRIMARY KEY (user_id, client_id)
);
INSERT INTO new_consents SELECT * FROM consents;
DROP TABLE consents;
ALTER TABLE new_consents RENAME TO consents;
CREATE INDEX consents_client_id ON consents (client_id);

CREATE TABLE new_sessions (
    id          text PRIMARY KEY,
    secret_hash blob NOT NULL UNIQUE,
    user_id     text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_epoch  integer NOT NULL,
    auth_time   timestamp NOT NULL,
    amr         text NOT NULL,
    remember    boolean NOT NULL,
    created_at  timestamp NOT NULL,
    expires_at  timestamp NOT NULL,
    ends_at     timestamp NOT NULL,
    user_agent  text NOT NULL DEFAULT '',
    address     text NOT NULL DEFAULT ''
);
INSERT INTO new_sessions SELECT *, '', '' FROM sessions;
DROP TABLE sessions;
ALTER TABLE new_sessions RENAME TO sessions;
CREATE INDEX sessions_user_id ON sessions (user_id);

CREATE TABLE new_grants (
    id             text PRIMARY KEY,
    handle_hash    blob UNIQUE,
    client_id      text NOT NULL,
    user_id        text NOT NULL,
    user_epoch     integer NOT NULL,
    session_id     text NOT NULL,
    scopes         text NOT NULL,
    -- Whether scopes has offline_access, for signing out.
    offline_access boolean NOT NULL,
    resources      text NOT NULL,
    nonce          text NOT NULL,
    auth_time      timestamp NOT NULL,
    amr            text NOT NULL,
    jkt            text NOT NULL,
    generation     integer NOT NULL CHECK (generation >= 1),
    -- What the last rotation found, for its RETURNING.
    outcome        text NOT NULL CHECK (outcome IN ('', 'rotated', 'repeated', 'reused')),
    created_at     timestamp NOT NULL,
    rotated_at     timestamp,
    expires_at     timestamp NOT NULL,
    ends_at        timestamp NOT NULL,
    revoked_at     timestamp
);
INSERT INTO new_grants SELECT * FROM grants;
DROP TABLE grants;
ALTER TABLE new_grants RENAME TO grants;
CREATE INDEX grants_user_id ON grants (user_id);
CREATE INDEX grants_client_id ON grants (client_id);
CREATE INDEX grants_session_id ON grants (session_id) WHERE session_id <> '';
CREATE INDEX grants_ends_at ON grants (ends_at);

-- Letters are read by id, and those given up are in nobody's way.
ALTER TABLE letters ADD COLUMN failed_at timestamp;
ALTER TABLE letters ADD COLUMN failure text NOT NULL DEFAULT '';
DROP INDEX letters_created_at;
CREATE INDEX letters_pending ON letters (id) WHERE failed_at IS NULL;
