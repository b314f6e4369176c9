-- name: InsertRepeat :execrows
WITH before AS (
    SELECT EXISTS (
        SELECT 1 FROM events b
        WHERE b.user_id = sqlc.arg(user_id) AND b.user_id <> '' AND b.kind = sqlc.arg(kind) AND b.outcome = sqlc.arg(outcome)
    ) AS known
), event AS (
    INSERT INTO events (id, occurred_at, kind, user_id, client_id, outcome, address, user_agent, detail)
    VALUES (
        sqlc.arg(id), sqlc.arg(occurred_at), sqlc.arg(kind), sqlc.arg(user_id), sqlc.arg(client_id), sqlc.arg(outcome),
        sqlc.arg(address), sqlc.arg(user_agent), sqlc.arg(detail)
    )
)
INSERT INTO letters (id, kind, sealed, created_at, deadline)
SELECT
    CAST(sqlc.arg(letter_id) AS text), CAST(sqlc.arg(letter_kind) AS text), CAST(sqlc.arg(sealed) AS bytea),
    CAST(sqlc.arg(created_at) AS timestamptz), CAST(sqlc.arg(deadline) AS timestamptz)
FROM before WHERE before.known;
