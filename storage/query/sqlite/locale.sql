-- name: SetLocale :execrows
UPDATE users
SET profile = json_set(profile, '$.locale', CAST(sqlc.arg(locale) AS text)), updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id);
