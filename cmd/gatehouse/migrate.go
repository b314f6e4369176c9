package main

import (
	"context"
	"flag"
)

func migrateCommand() command {
	return command{
		name:    "migrate",
		about:   "Bring the database up to this release's schema",
		example: "gatehouse migrate",
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, t terminal, _ []string) error {
				c, err := readConfig(t)
				if err != nil {
					return err
				}
				if err := migrateSQL(ctx, c); err != nil {
					return err
				}
				say(t.err, "gatehouse: the database has this release's schema\n")
				return nil
			}
		},
	}
}
