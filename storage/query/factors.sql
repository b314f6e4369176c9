-- name: EnableSecondFactor :one
UPDATE users
SET second_factor = true, epoch = epoch + 1, updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND status = 'active' AND epoch = sqlc.arg(epoch) AND NOT second_factor
RETURNING epoch;

-- name: DisableSecondFactor :one
UPDATE users
SET second_factor = false, epoch = epoch + 1, updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND epoch = sqlc.arg(epoch) AND second_factor
RETURNING epoch;

-- TouchSecondFactor locks the user, so that of two new sets of recovery codes
-- one stays, and none that comes after the second factor was turned off.
-- name: TouchSecondFactor :execrows
UPDATE users SET updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND second_factor;

-- name: TOTP :one
SELECT * FROM totps WHERE user_id = sqlc.arg(user_id);

-- name: InsertTOTP :exec
INSERT INTO totps (user_id, sealed, last_step, created_at, failures)
VALUES (sqlc.arg(user_id), sqlc.arg(sealed), sqlc.arg(last_step), sqlc.arg(created_at), 0);

-- name: DeleteTOTP :exec
DELETE FROM totps WHERE user_id = sqlc.arg(user_id);

-- name: SpendTOTP :execrows
UPDATE totps
SET last_step = sqlc.arg(step), last_used_at = sqlc.arg(now), failures = 0, failed_at = NULL
WHERE user_id = sqlc.arg(user_id) AND last_step < sqlc.arg(step);

-- name: FailSecondFactor :one
UPDATE totps
SET failures = failures + 1, failed_at = sqlc.arg(now)
WHERE user_id = sqlc.arg(user_id)
RETURNING failures;

-- name: ClearFailures :execrows
UPDATE totps SET failures = 0, failed_at = NULL WHERE user_id = sqlc.arg(user_id);

-- name: InsertRecoveryCode :exec
INSERT INTO recovery_codes (user_id, mac) VALUES (sqlc.arg(user_id), sqlc.arg(mac));

-- name: DeleteRecoveryCode :execrows
DELETE FROM recovery_codes WHERE user_id = sqlc.arg(user_id) AND mac = sqlc.arg(mac);

-- name: DeleteRecoveryCodes :exec
DELETE FROM recovery_codes WHERE user_id = sqlc.arg(user_id);

-- name: CountRecoveryCodes :one
SELECT COUNT(*) FROM recovery_codes WHERE user_id = sqlc.arg(user_id);

-- HasRecoveryCode counts one or none.
-- name: HasRecoveryCode :one
SELECT COUNT(*) FROM recovery_codes WHERE user_id = sqlc.arg(user_id) AND mac = sqlc.arg(mac);
