-- +goose Up

-- The same changes as for PostgreSQL.

-- Standard claims (OIDC Core section 5.1), JSON.
ALTER TABLE users ADD COLUMN profile text NOT NULL DEFAULT '{}';

-- SQLite cannot change a CHECK, so clients is made again; and consents first,
-- because to drop a table deletes what refers to its rows. The new consents
-- refer to the new clients and follow when those are renamed.
--
-- metadata is JSON that no query looks at; backchannel says whether it has a
-- back-channel logout URI. A client that registered itself has a
-- registration_hash, that of its registration access token.
CREATE TABLE new_clients (
    id                text PRIMARY KEY,
    name              text NOT NULL,
    auth_method       text NOT NULL
        CHECK (auth_method IN ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
    secret_hashes     text NOT NULL,
    redirect_uris     text NOT NULL,
    grant_types       text NOT NULL,
    scopes            text NOT NULL,
    resources         text NOT NULL,
    first_party       boolean NOT NULL,
    optional_pkce     boolean NOT NULL,
    id_token_alg      text NOT NULL,
    -- Microseconds; null is the server's default.
    refresh_grace     integer CHECK (refresh_grace >= 0),
    created_at        timestamp NOT NULL,
    updated_at        timestamp NOT NULL,
    metadata          text NOT NULL DEFAULT '{}',
    backchannel       boolean NOT NULL DEFAULT false,
    registration_hash blob,
    used_at           timestamp
);
INSERT INTO new_clients SELECT *, '{}', false, NULL, NULL FROM clients;

CREATE TABLE new_consents (
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id  text NOT NULL REFERENCES new_clients (id) ON DELETE CASCADE,
    scopes     text NOT NULL,
    granted_at timestamp NOT NULL,
    PRIMARY KEY (user_id, client_id)
);
INSERT INTO new_consents SELECT * FROM consents;
DROP TABLE consents;
DROP TABLE clients;
ALTER TABLE new_clients RENAME TO clients;
ALTER TABLE new_consents RENAME TO consents;
CREATE INDEX consents_client_id ON consents (client_id);
CREATE INDEX clients_registered ON clients (COALESCE(used_at, created_at)) WHERE registration_hash IS NOT NULL;

CREATE TABLE client_logos (
    client_id text PRIMARY KEY REFERENCES clients (id) ON DELETE CASCADE,
    type      text NOT NULL,
    bytes     blob NOT NULL
);

-- Notices outlive what they are about, so they refer to no row.
CREATE TABLE notices (
    id           text PRIMARY KEY,
    client_id    text NOT NULL,
    user_id      text NOT NULL,
    session_id   text NOT NULL,
    created_at   timestamp NOT NULL,
    delivered_at timestamp,
    failed_at    timestamp,
    failure      text NOT NULL DEFAULT ''
);
CREATE INDEX notices_pending ON notices (created_at, id) WHERE delivered_at IS NULL AND failed_at IS NULL;
CREATE INDEX notices_client_id ON notices (client_id, created_at);
CREATE INDEX notices_created_at ON notices (created_at);

-- Claims asked for one by one (OIDC Core section 5.5), JSON; '' for none.
ALTER TABLE grants ADD COLUMN claims text NOT NULL DEFAULT '';

CREATE TABLE revocations (
    seq        integer PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('token', 'grant', 'client')),
    target     text NOT NULL,
    revoked_at timestamp NOT NULL,
    until      timestamp NOT NULL
);
CREATE INDEX revocations_until ON revocations (until);

-- One row. Its seq is at least that of every revocation that was removed: the
-- last place given out is the highest of both tables. The one writer needs no
-- lock.
CREATE TABLE revocation_head (
    id  integer PRIMARY KEY CHECK (id = 1),
    seq integer NOT NULL
);
INSERT INTO revocation_head (id, seq) VALUES (1, 0);

-- The tokens of a grant are dead 15 minutes after its revocation, and a minute
-- later by any clock. What matters of the revocations before this migration is
-- not known without a clock; what is less than that older than the newest one
-- is all of it and little more.
--
-- SQLite reckons in milliseconds, so the digits after the second (from the
-- 20th character) are kept apart.
INSERT INTO revocations (seq, kind, target, revoked_at, until)
SELECT row_number() OVER (ORDER BY g.revoked_at, g.id), 'grant', g.id, g.revoked_at,
    strftime('%Y-%m-%d %H:%M:%S', substr(g.revoked_at, 1, 19), '+16 minutes') || substr(g.revoked_at, 20)
FROM grants g
WHERE g.revoked_at > strftime('%Y-%m-%d %H:%M:%S', substr((SELECT max(r.revoked_at) FROM grants r), 1, 19), '-16 minutes');

-- +goose StatementBegin
CREATE TRIGGER grants_revoked AFTER UPDATE OF revoked_at ON grants
    WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL
BEGIN
    INSERT INTO revocations (seq, kind, target, revoked_at, until)
    SELECT MAX(COALESCE((SELECT MAX(r.seq) FROM revocations r), 0), h.seq) + 1, 'grant', NEW.id, NEW.revoked_at,
        strftime('%Y-%m-%d %H:%M:%S', substr(NEW.revoked_at, 1, 19), '+16 minutes') || substr(NEW.revoked_at, 20)
    FROM revocation_head h;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER grants_inserted_revoked AFTER INSERT ON grants
    WHEN NEW.revoked_at IS NOT NULL
BEGIN
    INSERT INTO revocations (seq, kind, target, revoked_at, until)
    SELECT MAX(COALESCE((SELECT MAX(r.seq) FROM revocations r), 0), h.seq) + 1, 'grant', NEW.id, NEW.revoked_at,
        strftime('%Y-%m-%d %H:%M:%S', substr(NEW.revoked_at, 1, 19), '+16 minutes') || substr(NEW.revoked_at, 20)
    FROM revocation_head h;
END;
-- +goose StatementEnd

-- A code that is redeemed after its session ended gives nothing, unless it
-- speaks for offline access: the end of a session looks for grants once.
-- +goose StatementBegin
CREATE TRIGGER grants_require_session BEFORE INSERT ON grants
WHEN NEW.session_id <> '' AND NOT NEW.offline_access AND NEW.revoked_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = NEW.session_id)
BEGIN
    SELECT RAISE(IGNORE);
END;
-- +goose StatementEnd

CREATE TABLE gateways (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamp NOT NULL,
    fetched_at timestamp,
    seen_keys  text NOT NULL
);
