//go:build slim

package main

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

// A slim binary is for production images: it has no SQLite, no Valkey in
// process and no /dev, so that nothing can open them by mistake.
// readConfig refuses what would need them.
const slim = true

var errSlim = errors.New("this binary has no SQLite, no embedded mode and no /dev")

func openSQLite(context.Context, string) (database, error) { return nil, errSlim }

func openEmbeddedValkey(context.Context) (*valkey.DB, error) { return nil, errSlim }

func (s *server) embed(context.Context, *mail.Sealer, string, io.Writer) (http.Handler, error) {
	return nil, errSlim
}
