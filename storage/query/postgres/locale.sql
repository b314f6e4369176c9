-- name: SetLocale :execrows
UPDATE users
SET profile = CAST(CAST(profile AS jsonb) || jsonb_build_object('locale', CAST(sqlc.arg(locale) AS text)) AS text), updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id);
