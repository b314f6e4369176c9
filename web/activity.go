package web

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// activityFor is how far back the page of an account goes.
	activityFor = 90 * 24 * time.Hour
	// activityRows is how many events a page shows.
	activityRows = 25
	// eventOK is the outcome of what was not refused.
	eventOK = "ok"
)

// An eventRow is something that happened to the account.
type eventRow struct {
	What template.HTML
	// Where is the device, Address and UserAgent what it came with; empty for
	// what nobody did at a browser.
	Where, Address, UserAgent string
	// Recent is the time in short, At in full.
	Recent, At moment
}

// activity is what happened before the event of that id (empty: the newest), up
// to n, newest first. older is the id to go on from, or empty.
func (s *Web) activity(v *visit, before string, n int) (rows []eventRow, older string, err error) {
	ctx := v.r.Context()
	events, err := s.store.ListEventsOf(ctx, v.user.ID, before, n+1)
	if err != nil {
		return nil, "", err
	}
	since := s.now().Add(-activityFor)
	apps := map[string]string{}
	for i, e := range events {
		if e.At.Before(since) {
			break
		}
		if i == n {
			older = events[n-1].ID
			break
		}
		if withdrawn, ok := strings.CutPrefix(e.Detail, "client "); ok && e.ClientID == "" {
			e.ClientID = withdrawn
		}
		if _, known := apps[e.ClientID]; e.ClientID != "" && !known {
			c, err := s.store.Client(ctx, e.ClientID)
			switch {
			case err == nil:
				apps[e.ClientID] = c.Name
			case errors.Is(err, storage.ErrNotFound): // it is no more
				apps[e.ClientID] = e.ClientID
			default:
				return nil, "", fmt.Errorf("web: read client: %w", err)
			}
		}
		row := eventRow{
			What:    s.happened(e, apps[e.ClientID]),
			Address: e.Address, UserAgent: e.UserAgent, Recent: s.recent(e.At), At: s.exact(e.At),
		}
		if e.UserAgent != "" {
			row.Where = s.deviceName(e.UserAgent)
		}
		rows = append(rows, row)
	}
	return rows, older, nil
}

// happened puts an event in words. What has none is shown by its kind.
func (s *Web) happened(e storage.Event, app string) template.HTML {
	text := s.frame.text
	key := "event." + e.Kind + "."
	switch {
	case e.Kind == login.EventSignIn && e.Outcome == eventOK:
		if how := s.methods(strings.Fields(e.Detail)); how != "" {
			return text.html(key+"with", "methods", how)
		}
		key += eventOK
	case e.Outcome == eventOK, text.has(key + e.Outcome):
		key += e.Outcome
	default:
		key += "refused"
	}
	if !text.has(key) {
		key = "event.unknown"
	}
	return text.html(key, "app", bdi(app), "kind", e.Kind, "0", ltr())
}

// activityPage is the data of the page.
type activityPage struct {
	Events []eventRow
	// Older is the id to go on from, or empty; Newest says that the page does
	// not begin with the newest.
	Older  string
	Newest bool
}

func (s *Web) showActivity(v *visit, _ login.Acting) error {
	before := v.query.Get("before")
	if before != "" && uuid.Validate(before) != nil {
		return &stop{status: http.StatusBadRequest, page: "link"}
	}
	rows, older, err := s.activity(v, before, activityRows)
	if err != nil {
		return err
	}
	return s.show(v, Page{Name: "account-activity", Data: activityPage{rows, older, before != ""}})
}
