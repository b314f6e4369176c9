package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A Template is a PostgreSQL database that others are copied from: what takes
// time to put into a database is put there once in a test binary. Prepare is
// required; it is given the URL of an empty database, and leaves no connection to
// it.
type Template struct {
	Prepare func(ctx context.Context, databaseURL string) error

	once         sync.Once
	server, name string
	err          error
}

// Postgres is [Postgres], but that the database is a copy.
func (m *Template) Postgres(t testing.TB) string {
	t.Helper()
	server := give(t, postgresServer, installPostgres)
	m.once.Do(func() {
		m.server, m.name = server, "gatehouse_test_"+strings.ToLower(rand.Text()[:16])
		if m.err = execPostgres(server, "create database "+m.name+" template template0"); m.err != nil {
			return
		}
		address, err := inDatabase(server, m.name)
		if err == nil {
			err = m.Prepare(context.Background(), address)
		}
		m.err = err
	})
	if m.err != nil {
		t.Fatalf("testenv: prepare a database: %v", m.err)
	}
	return fresh(t, server, m.name)
}

// Drop removes the template itself, which a server in GATEHOUSE_TEST_POSTGRES
// would keep. It is for TestMain, after the tests.
func (m *Template) Drop() error {
	if m.name == "" {
		return nil
	}
	return execPostgres(m.server, "drop database if exists "+m.name+" with (force)")
}

// fresh makes a database that is dropped when the test ends, and returns its URL.
func fresh(t testing.TB, server, template string) string {
	t.Helper()
	name := "gatehouse_test_" + strings.ToLower(rand.Text()[:16])
	if err := execPostgres(server, "create database "+name+" template "+template); err != nil {
		t.Fatalf("testenv: create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := execPostgres(server, "drop database "+name+" with (force)"); err != nil {
			t.Errorf("testenv: drop the database: %v", err)
		}
	})
	address, err := inDatabase(server, name)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// inDatabase is the URL of a database of the server.
func inDatabase(server, name string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("testenv: %s: %w", postgresEnv, err)
	}
	u.Path = "/" + name
	return u.String(), nil
}
