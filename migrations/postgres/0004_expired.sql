-- +goose Up

-- Every minute each server looks for sessions that are over. Using a session moves
-- expires_at, but a tenth of the idle time later at the earliest.
CREATE INDEX sessions_expires_at ON sessions (expires_at);
