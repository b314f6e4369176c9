package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// logoLife is how long pages may go on showing a logo that was replaced.
	logoLife = time.Minute
	// maxLogos is how many apps' logos are kept in memory, at 6 KiB each and at
	// most as much again.
	maxLogos = 512
)

// logos are the pictures of the apps that people are signing in to. Only pages
// of a client that there is put one in, so strangers cannot fill it by asking
// for addresses.
type logos struct {
	mu       sync.Mutex
	byClient map[string]logo
}

// A logo is what was known of a client's picture at a time.
type logo struct {
	asset
	found bool
	until time.Time
}

func newLogos() *logos { return &logos{byClient: map[string]logo{}} }

func (l *logos) get(client string, now time.Time) (logo, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.byClient[client]
	return p, ok && now.Before(p.until)
}

func (l *logos) put(client string, p logo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byClient) >= maxLogos {
		clear(l.byClient)
	}
	l.byClient[client] = p
}

// logoPath returns the address of a client's logo, or "" when it has none. A
// page without a picture is better than no page: what goes wrong is logged.
func (s *Web) logoPath(ctx context.Context, client string) string {
	if client == "" {
		return ""
	}
	p, ok := s.logos.get(client, s.now())
	if !ok {
		var err error
		if p, err = s.readLogo(ctx, client); err != nil {
			s.log.WarnContext(ctx, "the logo of an app is not shown", "client", client, "err", err)
		}
		s.logos.put(client, p)
	}
	if !p.found {
		return ""
	}
	return "/assets/apps/" + url.PathEscape(client) + "/" + p.hash
}

// readLogo reads a client's logo from the database.
func (s *Web) readLogo(ctx context.Context, client string) (logo, error) {
	none := logo{until: s.now().Add(logoLife)}
	kept, err := s.store.Logo(ctx, client)
	if errors.Is(err, storage.ErrNotFound) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	// Whatever put it there: what is served is what we know to be a picture.
	picture, err := ReadPicture(kept.Bytes)
	if err != nil {
		return none, err
	}
	a, err := newAsset(picture.Type, picture.Bytes)
	if err != nil {
		return none, err
	}
	return logo{asset: a, found: true, until: none.until}, nil
}

// findAsset returns the file at an address under /assets.
func (s *Web) findAsset(r *http.Request) (asset, error) {
	if a, ok := s.frame.assets.find(r.URL.Path); ok {
		return a, nil
	}
	notFound := &stop{status: http.StatusNotFound, page: "not_found"}
	name, ok := strings.CutPrefix(r.URL.Path, "/assets/apps/")
	cut := strings.LastIndexByte(name, '/')
	if !ok || cut < 1 {
		return asset{}, notFound
	}
	client, hash := name[:cut], name[cut+1:]
	p, ok := s.logos.get(client, s.now())
	if !ok || p.hash != hash {
		var err error
		if p, err = s.readLogo(r.Context(), client); err != nil {
			return asset{}, err
		}
	}
	if !p.found || p.hash != hash {
		return asset{}, notFound
	}
	return p.asset, nil
}
