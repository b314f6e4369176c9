-- LockRevocations comes before a place is read that is to be given out.
-- name: LockRevocations :exec
SELECT id FROM revocation_head FOR UPDATE;
