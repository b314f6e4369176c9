-- name: InsertUser :exec
INSERT INTO users (id, email, email_key, name, email_verified_at, status, epoch, created_at, updated_at)
VALUES (
    sqlc.arg(id), sqlc.arg(email), sqlc.arg(email_key), sqlc.arg(name), sqlc.arg(email_verified_at),
    sqlc.arg(status), sqlc.arg(epoch), sqlc.arg(created_at), sqlc.arg(updated_at)
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

-- name: SetStatus :execrows
UPDATE users
SET status = sqlc.arg(status), epoch = epoch + 1, updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id);

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
