-- +goose Up

-- Ids are text made by the server; COLLATE "C" sorts them by their bytes, so
-- that pages of a list and the order of UUIDv7 do not depend on a locale. Lists
-- of strings are JSON text, which is the same on every engine.

CREATE TABLE users (
    id                text COLLATE "C" PRIMARY KEY,
    email             text NOT NULL,
    email_key         text COLLATE "C" NOT NULL UNIQUE,
    name              text NOT NULL,
    email_verified_at timestamptz,
    status            text NOT NULL CHECK (status IN ('pending', 'active', 'suspended')),
    epoch             bigint NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL
);

-- The highest seq is the current password.
CREATE TABLE passwords (
    user_id    text COLLATE "C" NOT NULL REFERENCES users,
    seq        bigint NOT NULL,
    hash       text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, seq)
);

CREATE TABLE clients (
    id            text COLLATE "C" PRIMARY KEY,
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
    refresh_grace bigint CHECK (refresh_grace >= 0),
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE consents (
    user_id    text COLLATE "C" NOT NULL REFERENCES users,
    client_id  text COLLATE "C" NOT NULL REFERENCES clients ON DELETE CASCADE,
    scopes     text NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, client_id)
);
CREATE INDEX consents_client_id ON consents (client_id);

CREATE TABLE sessions (
    id          text COLLATE "C" PRIMARY KEY,
    secret_hash bytea NOT NULL UNIQUE,
    user_id     text COLLATE "C" NOT NULL REFERENCES users,
    user_epoch  bigint NOT NULL,
    auth_time   timestamptz NOT NULL,
    amr         text NOT NULL,
    remember    boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX sessions_user_id ON sessions (user_id);

-- A rotation changes outcome, generation, rotated_at, expires_at and
-- revoked_at. None of them is in an index and every page keeps room, so
-- PostgreSQL updates the row in place (HOT). Keep it so.
--
-- client_id refers to no row: the grants of a deleted client stay, revoked.
CREATE TABLE grants (
    id             text COLLATE "C" PRIMARY KEY,
    handle_hash    bytea UNIQUE,
    client_id      text COLLATE "C" NOT NULL,
    user_id        text COLLATE "C" NOT NULL REFERENCES users,
    user_epoch     bigint NOT NULL,
    session_id     text COLLATE "C" NOT NULL,
    scopes         text NOT NULL,
    -- Whether scopes has offline_access, for signing out.
    offline_access boolean NOT NULL,
    resources      text NOT NULL,
    nonce          text NOT NULL,
    auth_time      timestamptz NOT NULL,
    amr            text NOT NULL,
    jkt            text NOT NULL,
    generation     bigint NOT NULL CHECK (generation >= 1),
    -- What the last rotation found, for its RETURNING.
    outcome        text NOT NULL CHECK (outcome IN ('', 'rotated', 'repeated', 'reused')),
    created_at     timestamptz NOT NULL,
    rotated_at     timestamptz,
    expires_at     timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL,
    revoked_at     timestamptz
) WITH (fillfactor = 80);
CREATE INDEX grants_user_id ON grants (user_id);
CREATE INDEX grants_client_id ON grants (client_id);
CREATE INDEX grants_session_id ON grants (session_id) WHERE session_id <> '';
CREATE INDEX grants_ends_at ON grants (ends_at);

-- One row: the version of all keys, for compare-and-swap.
CREATE TABLE key_sets (
    id      bigint PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL
);
INSERT INTO key_sets (id, version) VALUES (1, 0);

CREATE TABLE keys (
    id           text COLLATE "C" PRIMARY KEY,
    purpose      text NOT NULL,
    algorithm    text NOT NULL,
    public_jwk   bytea,
    sealed       bytea NOT NULL,
    published_at timestamptz NOT NULL,
    signing_at   timestamptz NOT NULL,
    retired_at   timestamptz,
    gone_at      timestamptz
);

CREATE TABLE letters (
    id         text COLLATE "C" PRIMARY KEY,
    kind       text NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL,
    deadline   timestamptz
);
CREATE INDEX letters_created_at ON letters (created_at, id);

-- Events outlive what they are about, so they refer to no row.
CREATE TABLE events (
    id          text COLLATE "C" PRIMARY KEY,
    occurred_at timestamptz NOT NULL,
    kind        text NOT NULL,
    user_id     text NOT NULL,
    client_id   text NOT NULL,
    detail      text NOT NULL
);
