-- +goose Up

-- The same tables as for PostgreSQL. A time is UTC text of the form that the
-- driver's _time_format=sqlite writes, which sorts like the time itself. Lists
-- of strings are JSON text.

CREATE TABLE users (
    id                text PRIMARY KEY,
    email             text NOT NULL,
    email_key         text NOT NULL UNIQUE,
    name              text NOT NULL,
    email_verified_at timestamp,
    status            text NOT NULL CHECK (status IN ('pending', 'active', 'suspended')),
    epoch             integer NOT NULL,
    created_at        timestamp NOT NULL,
    updated_at        timestamp NOT NULL
);

-- The highest seq is the current password.
CREATE TABLE passwords (
    user_id    text NOT NULL REFERENCES users (id),
    seq        integer NOT NULL,
    hash       text NOT NULL,
    created_at timestamp NOT NULL,
    PRIMARY KEY (user_id, seq)
);

CREATE TABLE clients (
    id            text PRIMARY KEY,
    name          text NOT NULL,
    auth_method   text NOT NULL CHECK (auth_method IN ('none', 'client_secret_basic', 'client_secret_post')),
    secret_hashes text NOT NULL,
    redirect_uris text NOT NULL,
    grant_types   text NOT NULL,
    scopes        text NOT NULL,
    resources     text NOT NULL,
    first_party   boolean NOT NULL,
    optional_pkce boolean NOT NULL,
    id_token_alg  text NOT NULL,
    -- Microseconds; null is the server's default.
    refresh_grace integer CHECK (refresh_grace >= 0),
    created_at    timestamp NOT NULL,
    updated_at    timestamp NOT NULL
);

CREATE TABLE consents (
    user_id    text NOT NULL REFERENCES users (id),
    client_id  text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    scopes     text NOT NULL,
    granted_at timestamp NOT NULL,
    PRIMARY KEY (user_id, client_id)
);
CREATE INDEX consents_client_id ON consents (client_id);

CREATE TABLE sessions (
    id          text PRIMARY KEY,
    secret_hash blob NOT NULL UNIQUE,
    user_id     text NOT NULL REFERENCES users (id),
    user_epoch  integer NOT NULL,
    auth_time   timestamp NOT NULL,
    amr         text NOT NULL,
    remember    boolean NOT NULL,
    created_at  timestamp NOT NULL,
    expires_at  timestamp NOT NULL,
    ends_at     timestamp NOT NULL
);
CREATE INDEX sessions_user_id ON sessions (user_id);

-- client_id refers to no row: the grants of a deleted client stay, revoked.
CREATE TABLE grants (
    id             text PRIMARY KEY,
    handle_hash    blob UNIQUE,
    client_id      text NOT NULL,
    user_id        text NOT NULL REFERENCES users (id),
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
CREATE INDEX grants_user_id ON grants (user_id);
CREATE INDEX grants_client_id ON grants (client_id);
CREATE INDEX grants_session_id ON grants (session_id) WHERE session_id <> '';
CREATE INDEX grants_ends_at ON grants (ends_at);

-- One row: the version of all keys, for compare-and-swap.
CREATE TABLE key_sets (
    id      integer PRIMARY KEY CHECK (id = 1),
    version integer NOT NULL
);
INSERT INTO key_sets (id, version) VALUES (1, 0);

CREATE TABLE keys (
    id           text PRIMARY KEY,
    purpose      text NOT NULL,
    algorithm    text NOT NULL,
    public_jwk   blob,
    sealed       blob NOT NULL,
    published_at timestamp NOT NULL,
    signing_at   timestamp NOT NULL,
    retired_at   timestamp,
    gone_at      timestamp
);

CREATE TABLE letters (
    id         text PRIMARY KEY,
    kind       text NOT NULL,
    sealed     blob NOT NULL,
    created_at timestamp NOT NULL,
    deadline   timestamp
);
CREATE INDEX letters_created_at ON letters (created_at, id);

-- Events outlive what they are about, so they refer to no row.
CREATE TABLE events (
    id          text PRIMARY KEY,
    occurred_at timestamp NOT NULL,
    kind        text NOT NULL,
    user_id     text NOT NULL,
    client_id   text NOT NULL,
    detail      text NOT NULL
);
