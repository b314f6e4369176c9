-- +goose Up

-- The tables in the order in which transactions change them.

-- Standard claims (OIDC Core section 5.1), JSON.
ALTER TABLE users ADD COLUMN profile text NOT NULL DEFAULT '{}';

-- metadata is JSON that no query looks at; backchannel says whether it has a
-- back-channel logout URI. A client that registered itself has a
-- registration_hash, that of its registration access token.
ALTER TABLE clients
    DROP CONSTRAINT clients_auth_method_check,
    ADD CONSTRAINT clients_auth_method_check
        CHECK (auth_method IN ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
    ADD COLUMN metadata          text NOT NULL DEFAULT '{}',
    ADD COLUMN backchannel       boolean NOT NULL DEFAULT false,
    ADD COLUMN registration_hash bytea,
    ADD COLUMN used_at           timestamptz;
CREATE INDEX clients_registered ON clients (COALESCE(used_at, created_at)) WHERE registration_hash IS NOT NULL;

CREATE TABLE client_logos (
    client_id text COLLATE "C" PRIMARY KEY REFERENCES clients ON DELETE CASCADE,
    type      text NOT NULL,
    bytes     bytea NOT NULL
);

-- Notices outlive what they are about, so they refer to no row.
CREATE TABLE notices (
    id           text COLLATE "C" PRIMARY KEY,
    client_id    text COLLATE "C" NOT NULL,
    user_id      text COLLATE "C" NOT NULL,
    session_id   text COLLATE "C" NOT NULL,
    created_at   timestamptz NOT NULL,
    delivered_at timestamptz,
    failed_at    timestamptz,
    failure      text NOT NULL DEFAULT ''
);
CREATE INDEX notices_pending ON notices (created_at, id) WHERE delivered_at IS NULL AND failed_at IS NULL;
CREATE INDEX notices_client_id ON notices (client_id, created_at);
CREATE INDEX notices_created_at ON notices (created_at);

-- Claims asked for one by one (OIDC Core section 5.5), JSON; '' for none.
ALTER TABLE grants ADD COLUMN claims text NOT NULL DEFAULT '';

CREATE TABLE revocations (
    seq        bigint PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('token', 'grant', 'client')),
    target     text NOT NULL,
    revoked_at timestamptz NOT NULL,
    until      timestamptz NOT NULL
);
CREATE INDEX revocations_until ON revocations (until);

-- One row. Whoever adds a revocation locks it until the commit, so that the
-- order of seq is the order of commits. Its own seq is at least that of every
-- revocation that was removed: the last place given out is the highest of both
-- tables.
CREATE TABLE revocation_head (
    id  bigint PRIMARY KEY CHECK (id = 1),
    seq bigint NOT NULL
);
INSERT INTO revocation_head (id, seq) VALUES (1, 0);

-- The tokens of a grant are dead 15 minutes after its revocation, and a minute
-- later by any clock. What matters of the revocations before this migration is
-- not known without a clock; what is less than that older than the newest one
-- is all of it and little more.
INSERT INTO revocations (seq, kind, target, revoked_at, until)
SELECT row_number() OVER (ORDER BY g.revoked_at, g.id), 'grant', g.id, g.revoked_at, g.revoked_at + interval '16 minutes'
FROM grants g
WHERE g.revoked_at > (SELECT max(r.revoked_at) FROM grants r) - interval '16 minutes';

-- +goose StatementBegin
CREATE FUNCTION add_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In a statement of its own: the next one sees what was committed until
    -- the lock was had.
    PERFORM 1 FROM revocation_head FOR UPDATE;
    INSERT INTO revocations (seq, kind, target, revoked_at, until)
    SELECT GREATEST((SELECT max(r.seq) FROM revocations r), h.seq) + 1,
        'grant', NEW.id, NEW.revoked_at, NEW.revoked_at + interval '16 minutes'
    FROM revocation_head h;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- Deferred to the commit: the lock on revocation_head is the last that a
-- transaction takes, and the one it holds the shortest.
CREATE CONSTRAINT TRIGGER grants_revoked AFTER UPDATE OF revoked_at ON grants
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION add_revocation();
CREATE CONSTRAINT TRIGGER grants_inserted_revoked AFTER INSERT ON grants
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION add_revocation();

-- A code that is redeemed while its session ends gives nothing, unless it speaks
-- for offline access: the end of a session looks for grants once. The user is
-- locked by now, so the session is the next in order; FOR KEY SHARE waits for
-- its removal and for nothing else.
-- +goose StatementBegin
CREATE FUNCTION require_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM sessions WHERE id = NEW.session_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER grants_require_session BEFORE INSERT ON grants
    FOR EACH ROW
    WHEN (NEW.session_id <> '' AND NOT NEW.offline_access AND NEW.revoked_at IS NULL)
    EXECUTE FUNCTION require_session();

CREATE TABLE gateways (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL,
    fetched_at timestamptz,
    seen_keys  text NOT NULL
);
