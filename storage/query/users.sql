-- name: InsertUser :exec
INSERT INTO users (id, email, email_key, name, email_verified_at, status, epoch, created_at, updated_at, profile)
VALUES (
    sqlc.arg(id), sqlc.arg(email), sqlc.arg(email_key), sqlc.arg(name), sqlc.arg(email_verified_at),
    sqlc.arg(status), sqlc.arg(epoch), sqlc.arg(created_at), sqlc.arg(updated_at), sqlc.arg(profile)
);

-- name: RenamePendingUser :execrows
UPDATE users
SET name = sqlc.arg(name), updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND status = 'pending';

-- name: VerifyEmail :execrows
UPDATE users
SET email_verified_at = sqlc.arg(now), status = 'active', updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND status = 'pending';

-- name: RaiseEpoch :one
UPDATE users
SET epoch = epoch + 1, updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id)
RETURNING epoch;

-- name: SetStatus :one
UPDATE users
SET status = CASE
        WHEN CAST(sqlc.arg(status) AS text) = 'active' AND email_verified_at IS NULL THEN 'pending'
        ELSE CAST(sqlc.arg(status) AS text) END,
    epoch = epoch + 1, updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id)
RETURNING epoch;

-- DeletePendingHolder makes room for who has proved the mailbox.
-- name: DeletePendingHolder :one
DELETE FROM users
WHERE email_key = sqlc.arg(email_key) AND status = 'pending' AND email_verified_at IS NULL
RETURNING id;

-- name: ChangeEmail :execrows
UPDATE users
SET email = sqlc.arg(email), email_key = sqlc.arg(email_key), email_verified_at = sqlc.arg(now), updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND status = 'active' AND epoch = sqlc.arg(epoch);

-- name: SetProfile :execrows
UPDATE users SET name = sqlc.arg(name), profile = sqlc.arg(profile), updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id);

-- name: DeleteUser :execrows
DELETE FROM users WHERE id = sqlc.arg(id);

-- name: User :one
SELECT * FROM users WHERE id = sqlc.arg(id);

-- name: UserByEmailKey :one
SELECT sqlc.embed(users), passwords.hash
FROM users
JOIN passwords ON passwords.user_id = users.id
WHERE users.email_key = sqlc.arg(email_key)
ORDER BY passwords.seq DESC
LIMIT 1;

-- name: ListUsers :many
SELECT * FROM users WHERE id > sqlc.arg(after) ORDER BY id LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: AddPassword :exec
INSERT INTO passwords (user_id, seq, hash, created_at)
VALUES (
    sqlc.arg(user_id),
    (SELECT COALESCE(MAX(p.seq), 0) + 1 FROM passwords p WHERE p.user_id = sqlc.arg(user_id)),
    sqlc.arg(hash), sqlc.arg(now)
);

-- name: UpgradePassword :execrows
UPDATE passwords SET hash = sqlc.arg(hash)
WHERE passwords.user_id = sqlc.arg(user_id) AND passwords.hash = sqlc.arg(old)
    AND passwords.seq = (SELECT MAX(p.seq) FROM passwords p WHERE p.user_id = sqlc.arg(user_id));

-- name: PasswordHashes :many
SELECT hash FROM passwords WHERE user_id = sqlc.arg(user_id) ORDER BY seq DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: TrimPasswords :exec
DELETE FROM passwords
WHERE passwords.user_id = sqlc.arg(user_id) AND passwords.seq NOT IN (
    SELECT p.seq FROM passwords p WHERE p.user_id = sqlc.arg(user_id)
    ORDER BY p.seq DESC LIMIT CAST(sqlc.arg(keep) AS bigint)
);

-- name: DeletePasswords :exec
DELETE FROM passwords WHERE user_id = sqlc.arg(user_id);
