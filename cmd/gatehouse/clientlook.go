package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/web"
)

// lookFlags define how an app looks on our pages.
func lookFlags(fs *flag.FlagSet, accent *string, logo *web.Picture) {
	fs.Func("accent", "the `colour` of the pages on the way to it, as #rrggbb", func(v string) error {
		c, err := web.ParseColour(v)
		*accent = string(c)
		return err
	})
	fs.Func("logo", "a `file` with its picture: square, PNG, JPEG, WebP or SVG, at most 6 KiB", func(v string) (err error) {
		if *logo, err = readPicture(v); err != nil {
			return fmt.Errorf("the file %w", err)
		}
		return nil
	})
}

func clientLookCommand() command {
	return command{
		name:     "client look",
		operands: "ID",
		about:    "Change how an app looks to people on their way to it",
		example:  "gatehouse client look notes --accent '#6b4de6' --logo notes.svg",
		define: func(fs *flag.FlagSet) action {
			var accent string
			var logo web.Picture
			lookFlags(fs, &accent, &logo)
			noAccent := fs.Bool("no-accent", false, "the colour of the server's own pages again")
			noLogo := fs.Bool("no-logo", false, "the first letters of its name again, and no picture")
			return func(ctx context.Context, t terminal, operands []string) error {
				newLogo := len(logo.Bytes) > 0
				switch {
				case accent == "" && !newLogo && !*noAccent && !*noLogo:
					return usagef("nothing is to change; give --accent, --logo, --no-accent or --no-logo")
				case accent != "" && *noAccent:
					return usagef("--accent and --no-accent exclude each other")
				case newLogo && *noLogo:
					return usagef("--logo and --no-logo exclude each other")
				}
				sql, err := openCommand(ctx, t)
				if err != nil {
					return err
				}
				defer func() { _ = sql.Close() }()
				now, err := sql.Time(ctx)
				if err != nil {
					return err
				}
				c, err := sql.Client(ctx, operands[0])
				if err != nil {
					return noClient(operands[0], err)
				}
				if accent != "" || *noAccent {
					c.Metadata.Accent, c.UpdatedAt = accent, now
					if err := sql.UpdateClient(ctx, c); err != nil {
						return noClient(operands[0], err)
					}
				}
				if newLogo || *noLogo {
					if err := sql.SetLogo(ctx, c.ID, storage.Logo(logo)); err != nil {
						return noClient(operands[0], err)
					}
				}
				if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "client.updated", ClientID: c.ID}); err != nil {
					return err
				}
				say(t.err, "gatehouse: pages on the way to %s change within a minute\n", plain(c.ID))
				return nil
			}
		},
	}
}
