package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// repeats is how often each case of growth is measured; the cheapest counts,
// because other work on the machine only ever adds to it.
const repeats = 3

// purgeTime is longer than it takes a server, once it has started, to remove for the
// first time what has ended.
const purgeTime = 65 * time.Second

// growth measures the cases that read and write grants with a thousand of them,
// with a hundred times as many, and so on.
func (b *bench) growth(ctx context.Context, most int) (err error) {
	r, err := b.begin()
	if err != nil {
		return err
	}
	var databases servers
	defer func() { err = errors.Join(err, databases.close()) }()
	postgres, volatile, err := databases.open()
	if err != nil {
		return err
	}
	if r.versions, err = versions(ctx, postgres, volatile); err != nil {
		return err
	}
	g, err := configure(b.binary, postgres, volatile)
	if err != nil {
		return err
	}
	if err := g.command(nil, "migrate"); err != nil {
		return err
	}
	w, err := settle(g, b.connections)
	if err != nil {
		return err
	}
	sql, err := pgx.Connect(ctx, postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.Close(ctx)) }()
	var backend int
	if err := sql.QueryRow(ctx, "select pg_backend_pid()").Scan(&backend); err != nil {
		return err
	}
	s, err := statOf(backend)
	if err != nil {
		return fmt.Errorf("PostgreSQL must run on this machine: %w", err)
	}
	var stages []stage
	for had, n := 0, 1000; n <= most; had, n = n, n*100 {
		began := time.Now()
		if err := seed(ctx, sql, had, n); err != nil {
			return fmt.Errorf("seed %d grants: %w", n, err)
		}
		b.say("%d grants, seeded in %v\n", n, time.Since(began).Round(time.Second))
		one, err := b.stage(ctx, w, sql, cpuOfBackends(s.parent), n == most)
		if err != nil {
			return err
		}
		one.grants = n
		stages = append(stages, one)
	}
	text := markdownOfGrowth(r, stages)
	b.say("\n%s", text)
	if b.page == "" {
		return nil
	}
	return replace(b.page, "bench-growth", text)
}

// stage measures one number of grants, with a server that was started for it.
func (b *bench) stage(ctx context.Context, w *world, sql *pgx.Conn, backends func() (time.Duration, error), last bool) (s stage, err error) {
	floor, err := b.hello()
	if err != nil {
		return s, err
	}
	s.hello, s.results = floor.perThousand(), map[string]result{}
	before, err := scans(ctx, sql)
	if err != nil {
		return s, err
	}
	p, err := w.serve()
	if err != nil {
		return s, err
	}
	defer p.kill()
	began := time.Now()
	for range repeats {
		for _, c := range grown() {
			if err := ctx.Err(); err != nil {
				return s, err
			}
			m, err := b.one(w, c, meter{cpu: cpuOf(p.pid()), sql: backends}, p)
			if err != nil {
				return s, fmt.Errorf("%s: %w\n%s", c.name, err, &p.log)
			}
			if old, ok := s.results[c.name]; !ok || m.perThousand() < old.perThousand() {
				s.results[c.name] = m
			}
		}
	}
	if !last {
		return s, nil
	}
	select { // the server removes what has ended, once
	case <-time.After(purgeTime - time.Since(began)):
	case <-ctx.Done():
		return s, ctx.Err()
	}
	p.kill() // a backend that ends says what it has read
	after, err := scans(ctx, sql)
	if err != nil {
		return s, err
	}
	for table, n := range after {
		if more := n - before[table]; more > 0 {
			s.scans = append(s.scans, fmt.Sprintf("%s (%d times)", table, more))
		}
	}
	return s, nil
}

// scans counts, by table, how often one of those that grow was read from end to
// end.
func scans(ctx context.Context, sql *pgx.Conn) (map[string]int64, error) {
	rows, err := sql.Query(ctx, "select relname, seq_scan from pg_stat_user_tables where relname = any($1)", grow)
	if err != nil {
		return nil, err
	}
	all := map[string]int64{}
	var table string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&table, &n}, func() error {
		all[table] = n
		return nil
	})
	return all, err
}

// grow are the tables that seeds fill. Others have so few rows here that to read
// all of them is the best that PostgreSQL can do.
var grow = []string{"users", "passwords", "sessions", "grants"}

// seeds add the grants after the number $1 up to $2, each tenth with a person
// and a session of its own: made over half a year by the notes app, used since,
// and none of them over.
var seeds = []string{
	`insert into users (id, email, email_key, name, email_verified_at, status, epoch, created_at, updated_at)
	select pg_temp.bench_id(i, 'user'), 'u' || i || '@example.com', 'u' || i || '@example.com', 'Ada Lovelace', now(), 'active', 1, now(), now()
	from generate_series($1::bigint, $2::bigint - 1, 10) i`,
	`insert into passwords (user_id, seq, hash, created_at)
	select pg_temp.bench_id(i, 'user'), 1, '$argon2id$v=19$m=19456,t=2,p=1$' || md5(i::text) || '$' || md5(i::text), now()
	from generate_series($1::bigint, $2::bigint - 1, 10) i`,
	`insert into sessions (id, secret_hash, user_id, user_epoch, auth_time, amr, remember, created_at, expires_at, ends_at)
	select pg_temp.bench_id(i, 'session'), sha256(('s' || i)::bytea), pg_temp.bench_id(i, 'user'), 1, now(), '["pwd"]', true, now(),
		now() + interval '30 days', now() + interval '30 days'
	from generate_series($1::bigint, $2::bigint - 1, 10) i`,
	`insert into grants (id, handle_hash, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce, auth_time, amr, jkt,
		generation, outcome, created_at, rotated_at, expires_at, ends_at)
	select pg_temp.bench_id(i, 'grant'), sha256(('g' || i)::bytea), 'notes', pg_temp.bench_id(i - i % 10, 'user'), 1, pg_temp.bench_id(i - i % 10, 'session'),
		'["openid","offline_access","notes"]', true, '["` + notesAPI + `"]', '5f9d2c7a1e', made, '["pwd"]', '',
		1 + i % 100, 'rotated', made, now(), now() + interval '30 days', made + interval '180 days'
	from (select i, now() - interval '170 days' + i * interval '1 second' from generate_series($1::bigint, $2::bigint - 1) i) g (i, made)`,
}

// seed raises the number of grants from had to n. Indexes that are no primary key
// are made anew: entry by entry, at random places, they would take an hour.
func seed(ctx context.Context, sql *pgx.Conn, had, n int) error {
	exec := func(statement string, args ...any) error {
		_, err := sql.Exec(ctx, statement, args...)
		return err
	}
	for _, statement := range []string{
		// Of the length and the order of a UUIDv7. One expression, so that PostgreSQL
		// puts it where it is called.
		`create or replace function pg_temp.bench_id(i bigint, kind text) returns text language sql immutable as $$
			select lpad(to_hex(1690000000000 + i * 1000), 12, '0') || '-7' || substr(md5(kind || i), 1, 22)
		$$`,
		// Triggers are for grants that people get, one by one.
		"set session_replication_role = replica",
		"set maintenance_work_mem = '512MB'",
	} {
		if err := exec(statement); err != nil {
			return err
		}
	}
	defer func() { _ = exec("reset session_replication_role") }()
	anew, err := indexes(ctx, sql)
	if err != nil {
		return err
	}
	for _, index := range anew {
		if err := exec(index.drop); err != nil {
			return err
		}
	}
	for _, statement := range seeds {
		if err := exec(statement, had, n); err != nil {
			return fmt.Errorf("%.40s…: %w", statement, err)
		}
	}
	for _, index := range anew {
		if err := exec(index.create); err != nil {
			return err
		}
	}
	for _, statement := range []string{"vacuum analyze " + strings.Join(grow, ", "), "checkpoint"} {
		if err := exec(statement); err != nil {
			return err
		}
	}
	return nil
}

// An index is the statements that drop it and make it again.
type index struct{ drop, create string }

func indexes(ctx context.Context, sql *pgx.Conn) ([]index, error) {
	rows, err := sql.Query(ctx, `
		select coalesce('alter table ' || t.relname || ' drop constraint ' || c.conname, 'drop index ' || i.relname),
			coalesce('alter table ' || t.relname || ' add constraint ' || c.conname || ' ' || pg_get_constraintdef(c.oid), pg_get_indexdef(i.oid))
		from pg_index x
		join pg_class i on i.oid = x.indexrelid
		join pg_class t on t.oid = x.indrelid
		left join pg_constraint c on c.conindid = x.indexrelid and c.contype = 'u'
		where not x.indisprimary and t.relname in ('grants', 'sessions', 'users')`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (i index, err error) {
		err = row.Scan(&i.drop, &i.create)
		return i, err
	})
}
