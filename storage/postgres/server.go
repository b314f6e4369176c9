package postgres

import "context"

// Server names the database server and its version, for the operator.
func (db *DB) Server(ctx context.Context) (string, error) {
	var version string
	err := db.pool.QueryRow(ctx, "SHOW server_version").Scan(&version)
	return "PostgreSQL " + version, err
}
