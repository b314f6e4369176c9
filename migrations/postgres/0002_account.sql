-- +goose Up

-- Events first: they are written alone, so nobody who waits for them holds a
-- lock. Then the tables in the order in which transactions change them.
CREATE INDEX events_user_id ON events (user_id, id) WHERE user_id <> '';
CREATE INDEX events_occurred_at ON events (occurred_at);
ALTER TABLE events
    ADD COLUMN outcome    text NOT NULL DEFAULT '',
    ADD COLUMN address    text NOT NULL DEFAULT '',
    ADD COLUMN user_agent text NOT NULL DEFAULT '';

-- second_factor says whether the user has a row in totps.
ALTER TABLE users ADD COLUMN second_factor boolean NOT NULL DEFAULT false;
CREATE INDEX users_pending ON users (updated_at) WHERE status = 'pending';

CREATE TABLE totps (
    user_id      text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    sealed       bytea NOT NULL,
    last_step    bigint NOT NULL,
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    failures     bigint NOT NULL,
    failed_at    timestamptz
);

-- A code that is spent has no row.
CREATE TABLE recovery_codes (
    user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    mac     bytea NOT NULL,
    PRIMARY KEY (user_id, mac)
);

-- What is a user's goes with the user. Only grants stay, revoked, and refer to
-- no row any more.
ALTER TABLE passwords
    DROP CONSTRAINT passwords_user_id_fkey,
    ADD CONSTRAINT passwords_user_id_fkey FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE consents
    DROP CONSTRAINT consents_user_id_fkey,
    ADD CONSTRAINT consents_user_id_fkey FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE sessions
    DROP CONSTRAINT sessions_user_id_fkey,
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE,
    ADD COLUMN user_agent text NOT NULL DEFAULT '',
    ADD COLUMN address    text NOT NULL DEFAULT '';
ALTER TABLE grants DROP CONSTRAINT grants_user_id_fkey;

-- Letters are read by id, and those given up are in nobody's way.
ALTER TABLE letters
    ADD COLUMN failed_at timestamptz,
    ADD COLUMN failure   text NOT NULL DEFAULT '';
DROP INDEX letters_created_at;
CREATE INDEX letters_pending ON letters (id) WHERE failed_at IS NULL;
