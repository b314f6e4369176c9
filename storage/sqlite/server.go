package sqlite

import "context"

// Server names the engine and its version, for the operator.
func (db *DB) Server(ctx context.Context) (string, error) {
	var version string
	err := db.reader.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	return "SQLite " + version, err
}
