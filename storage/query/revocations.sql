-- LastRevocation is the last place given out.
-- name: LastRevocation :one
SELECT CAST(MAX(last.seq) AS bigint) FROM (
    SELECT h.seq FROM revocation_head h
    UNION ALL
    SELECT COALESCE((SELECT MAX(r.seq) FROM revocations r), 0)
) AS last;

-- name: InsertRevocation :exec
INSERT INTO revocations (seq, kind, target, revoked_at, until)
VALUES (sqlc.arg(seq), sqlc.arg(kind), sqlc.arg(target), sqlc.arg(revoked_at), sqlc.arg(until));

-- name: RevocationsAfter :many
SELECT * FROM revocations
WHERE seq > sqlc.arg(after) AND until > sqlc.arg(now)
ORDER BY seq LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: RaiseRevocationHead :exec
UPDATE revocation_head SET seq = sqlc.arg(seq);

-- name: DeleteExpiredRevocations :execrows
DELETE FROM revocations
WHERE seq IN (
    SELECT r.seq FROM revocations r WHERE r.until <= sqlc.arg(now)
    ORDER BY r.until LIMIT CAST(sqlc.arg(max_rows) AS bigint)
);
