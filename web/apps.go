package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// An appRow is an app that is connected to the account.
type appRow struct {
	ID   string
	Name string
	// Logo is the address of its picture, or empty.
	Logo string
	// Path is that of its page.
	Path string
	// Can is what it may do, with the values it sees.
	Can []scopeRow
	// Allowed is when that was agreed to; Used when it last got a token that is
	// alive, empty when it has none.
	Allowed, Used moment
	// Links are the app's own pages.
	Links appLinks
}

// apps are those connected to the account, by name.
func (s *Web) apps(v *visit, who login.Acting) ([]appRow, error) {
	apps, err := s.login.Apps(v.r.Context(), who)
	if err != nil {
		return nil, err
	}
	var out []appRow
	for _, a := range apps {
		row := appRow{
			ID: a.ClientID, Name: a.Name, Logo: s.logoPath(v.r.Context(), a.ClientID), Path: appPath(a.ClientID), Can: s.rows(a.Scopes, v.user), Allowed: s.day(a.AllowedAt),
		}
		if !a.LastUsedAt.IsZero() {
			row.Used = s.recent(a.LastUsedAt)
		}
		out = append(out, row)
	}
	return out, nil
}

// appsPath is the page of all apps, below which each has its own.
const appsPath = "/account/apps"

func appPath(clientID string) string { return appsPath + "/" + url.PathEscape(clientID) }

// appsPage is the data of the page.
type appsPage struct{ Apps []appRow }

func (s *Web) showApps(v *visit, who login.Acting) error {
	if ok, err := s.glance(v); err != nil || !ok {
		return err
	}
	rows, err := s.apps(v, who)
	if err != nil {
		return err
	}
	return s.show(v, Page{Name: "account-apps", Data: appsPage{rows}})
}

// app is the one that the path names.
func (s *Web) app(v *visit, who login.Acting) (appRow, error) {
	escaped, _, _ := strings.Cut(strings.TrimPrefix(v.r.URL.EscapedPath(), appsPath+"/"), "/")
	id, err := url.PathUnescape(escaped)
	if err != nil {
		return appRow{}, &stop{status: http.StatusNotFound, page: "not_found"}
	}
	rows, err := s.apps(v, who)
	if err != nil {
		return appRow{}, err
	}
	i := slices.IndexFunc(rows, func(row appRow) bool { return row.ID == id })
	if i < 0 {
		return appRow{}, &stop{status: http.StatusNotFound, page: "not_found"}
	}
	return rows[i], nil
}

func (s *Web) showApp(v *visit, who login.Acting) error {
	row, err := s.app(v, who)
	if err != nil {
		return err
	}
	c, err := s.store.Client(v.r.Context(), row.ID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // removed since the list was read
		return fmt.Errorf("web: read client: %w", err)
	}
	row.Links = linksOf(c)
	return s.show(v, appPage(row))
}

// appPage is one app.
func appPage(row appRow) Page { return Page{Name: "account-apps-one", Title: row.Name, Data: row} }

func (s *Web) showRemoveApp(v *visit, who login.Acting) error {
	row, err := s.app(v, who)
	if err != nil {
		return err
	}
	if ok, err := s.beginOwn(v); err != nil || !ok {
		return err
	}
	return s.show(v, s.removePage(row))
}

// removePage asks before it takes an app's access away.
func (s *Web) removePage(row appRow) Page {
	title := s.frame.text.plain("account-apps-remove.title", "app", row.Name)
	return Page{Name: "account-apps-remove", Title: title, Data: row}
}

func (s *Web) postRemoveApp(v *visit, who login.Acting) error {
	row, err := s.app(v, who)
	if err == nil {
		err = s.login.WithdrawApp(v.r.Context(), who, row.ID)
	}
	if err != nil {
		return s.refused(v, "account-apps", err)
	}
	return s.tell(v, "account-apps", "app_removed", row.Name)
}
