package web_test

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/text"
	"github.com/gatehouse-id/gatehouse/web"
)

var (
	htmlTag = regexp.MustCompile(`<html lang="([a-z]+)" dir="([a-z]+)"`)
	footer  = regexp.MustCompile(`<a id="languages" href="([^"]+)"`)
)

// language is the one that the page is in, with its direction.
func (a answer) language() string {
	if m := htmlTag.FindStringSubmatch(a.body); m != nil {
		return m[1] + " " + m[2]
	}
	return a.Status
}

// likes gets a path as a browser with that Accept-Language.
func (b *browser) likes(path, header string) answer {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, b.h.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if header != "" {
		r.Header.Set("Accept-Language", header)
	}
	a := b.do(r)
	if to := a.Header.Get("Location"); strings.HasPrefix(to, "/") {
		return b.likes(to, header)
	}
	return a
}

// choose goes from a page to the list of languages, takes one, and comes back.
func (b *browser) choose(page answer, tag string) answer {
	b.t.Helper()
	m := footer.FindStringSubmatch(page.body)
	if m == nil {
		b.t.Fatalf("no way to the languages:\n%s", page.body)
	}
	list := b.wants(b.open(html.UnescapeString(m[1])), "languages", 200, "العربية", "नेपाली")
	return b.follow(b.submit(list, "/languages", "language", tag))
}

// TestLanguageOrder asks for one page in every way at once, and then takes away
// the first of them.
func TestLanguageOrder(t *testing.T) {
	h := open(t, option{language: "es"})
	app := h.client(t, storage.Client{ID: "tidepool", Name: "Tidepool Notes", RedirectURIs: []string{"https://app.example/cb"}})
	owner := h.browser(t)
	at, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	owner.http.Jar.SetCookies(at, []*http.Cookie{{Name: "gatehouse_language", Value: "en", Path: "/"}})
	u := owner.register("asha@example.com")
	for _, c := range []struct {
		about                        string
		asked, cookie, account, like string
		want                         string
	}{
		{"the app's wish comes first", "fr de", "ne", "ar", "en", "de ltr"},
		{"then the person's choice in this browser", "fr", "ne", "ar", "en", "ne ltr"},
		{"then the account's", "", "", "ar", "en", "ar rtl"},
		{"a language of the account that we do not speak says nothing", "", "", "pt-BR", "en", "en ltr"},
		{"then what the browser likes best", "", "", "", "fr;q=0.9, en;q=0.3, de-AT;q=0.7", "de ltr"},
		{"which may be a region's", "", "", "", "ar-EG", "ar rtl"},
		{"what is not acceptable is not taken", "", "", "", "de;q=0, ne;q=0.1", "ne ltr"},
		{"then the operator's", "", "", "", "fr, ja;q=0.5", "es ltr"},
		{"nothing at all is the operator's", "", "", "", "", "es ltr"},
		{"nonsense asks for nothing", "<script>", "../../etc", "", ";;;q=zz,,", "es ltr"},
		{"nor does a wildcard", "*", "", "", "*", "es ltr"},
	} {
		t.Run(c.about, func(t *testing.T) {
			u.Profile.Locale = c.account
			if err := h.sql.SetProfile(t.Context(), u.ID, u.Name, u.Profile, h.now()); err != nil {
				t.Fatal(err)
			}
			b := &browser{t, h, owner.http}
			age := 60
			if c.cookie == "" {
				age = -1
			}
			b.http.Jar.SetCookies(at, []*http.Cookie{{Name: "gatehouse_language", Value: c.cookie, Path: "/", MaxAge: age}})
			path := authorize(app)
			if c.asked != "" {
				path = authorize(app, "ui_locales", c.asked)
			}
			page := b.likes(path, c.like)
			b.wants(page, "consent", 200)
			if got := page.language(); got != c.want {
				t.Errorf("the page is %s, want %s", got, c.want)
			}
			tag, _, _ := strings.Cut(c.want, " ")
			if got := page.Header.Get("Content-Language"); got != tag {
				t.Errorf("Content-Language: %q", got)
			}
			if vary := strings.Join(page.Header.Values("Vary"), ", "); !strings.Contains(vary, "Accept-Language") || !strings.Contains(vary, "Cookie") {
				t.Errorf("Vary: %q", vary)
			}
		})
	}
}

// TestChooseLanguage is the way of somebody without JavaScript.
func TestChooseLanguage(t *testing.T) {
	h := open(t, option{})
	app := h.client(t, storage.Client{ID: "tidepool", Name: "Tidepool Notes", RedirectURIs: []string{"https://app.example/cb"}})

	t.Run("a first visit, at a page of a flow, comes back to that very page", func(t *testing.T) {
		b := h.browser(t)
		page := b.wants(b.open(authorize(app)), "login", 200, "Sign in")
		page = b.choose(page, "ne")
		b.wants(page, "login", 200, "साइन इन", "Tidepool Notes")
		if page.language() != "ne ltr" {
			t.Error(page.language())
		}
	})
	t.Run("a choice counts for more than what the app asked for", func(t *testing.T) {
		b := h.browser(t)
		page := b.wants(b.open(authorize(app, "ui_locales", "de")), "login", 200, "Anmelden")
		page = b.choose(page, "ar")
		b.wants(page, "login", 200, "تسجيل الدخول")
		if page.language() != "ar rtl" {
			t.Error(page.language())
		}
	})
	t.Run("without a page to go back to", func(t *testing.T) {
		b := h.browser(t)
		page := b.wants(b.get("/nowhere"), "error", 404)
		b.choose(page, "de")
		list := b.wants(b.open("/languages"), "languages", 200, "Sprache wählen")
		if got := b.follow(b.submit(list, "/languages", "language", "es")); got.page() != "login" || got.language() != "es ltr" {
			t.Errorf("leads to %q in %s", got.page(), got.language())
		}
	})
	t.Run("somebody who is signed in finds it again in another browser, and in letters", func(t *testing.T) {
		b := h.browser(t)
		u := b.register("asha@example.com")
		if u.Profile.Locale != "en" {
			t.Errorf("registered in %q", u.Profile.Locale)
		}
		b.wants(b.choose(b.open("/account"), "de"), "account", 200, "Hallo, Asha Gurung")
		another := h.browser(t)
		page := another.likes("/login", "ne")
		if page.language() != "ne ltr" {
			t.Errorf("a stranger's page is in %s", page.language())
		}
		if page = another.signIn(page, "asha@example.com"); page.language() != "de ltr" {
			t.Errorf("the account is in %s", page.language())
		}
		if l := h.letter(t); l.Kind != login.LetterNewSignIn || l.Language != "de" {
			t.Errorf("the letter is %s in %q", l.Kind, l.Language)
		}
	})
	t.Run("who registers in a language is written to in it", func(t *testing.T) {
		b := h.browser(t)
		b.wants(b.choose(b.open("/register"), "ar"), "register", 200)
		page := b.open("/register")
		b.follow(b.submit(page, "/register", "name", "ليلى", "email", "layla@example.com", "password", password))
		if l := h.letter(t); l.Kind != login.LetterAccountVerification || l.Language != "ar" {
			t.Errorf("the letter is %s in %q", l.Kind, l.Language)
		}
		// A stranger who registers the address again does not choose for them.
		u, _, err := h.sql.UserByEmail(t.Context(), "layla@example.com")
		if err != nil || u.Profile.Locale != "ar" {
			t.Errorf("%+v, %v", u.Profile, err)
		}
	})
	t.Run("a stranger does not choose the language of a warning", func(t *testing.T) {
		h.pass(time.Hour) // a letter to an address that has just had one is not written
		b := h.browser(t)
		b.choose(b.open("/register"), "es")
		page := b.open("/register")
		b.follow(b.submit(page, "/register", "name", "Mallory", "email", "asha@example.com", "password", password))
		if l := h.letter(t); l.Kind != login.LetterAccountExists || l.Language != "de" {
			t.Errorf("the letter is %s in %q", l.Kind, l.Language)
		}
	})
	t.Run("what is no choice is refused", func(t *testing.T) {
		b := h.browser(t)
		list := b.open("/languages")
		form := list.hidden()
		form.Set("language", "fr")
		if a := b.post("/languages", form); a.StatusCode != http.StatusBadRequest {
			t.Errorf("French is %s", a.Status)
		}
		form.Set("language", "de")
		form.Set("csrf_token", "guess")
		if a := b.post("/languages", form); a.StatusCode != http.StatusForbidden {
			t.Errorf("sec-M1: a form of another site is %s", a.Status)
		}
		if page := b.open("/login"); page.language() != "en ltr" {
			t.Errorf("and yet the page is in %s", page.language())
		}
	})
	t.Run("sec-A14: the way back leads to this server alone", func(t *testing.T) {
		b := h.browser(t)
		for _, to := range []string{
			"https://evil.example/", "//evil.example", `/\evil.example`, "\\\\evil.example", "/\t/evil.example", "javascript:alert(1)", "evil", "",
			"http:/evil.example", "/%zz", "/" + strings.Repeat("a", 2001), "https:evil.example", " /account", "//", "///evil.example",
		} {
			list := b.open("/languages?to=" + url.QueryEscape(to))
			form := list.hidden()
			form.Set("language", "en")
			form.Set("to", to)
			for name, a := range map[string]answer{"as typed": b.post("/languages", form), "as linked": b.submit(list, "/languages", "language", "en")} {
				if got := a.Header.Get("Location"); got != "/" {
					t.Errorf("%q %s leads to %q", to, name, got)
				}
			}
		}
	})
}

// meanwhile does something when a language is about to be kept.
type meanwhile struct {
	web.Store
	do func()
}

func (m *meanwhile) SetLocale(ctx context.Context, userID, locale string, now time.Time) error {
	m.do()
	return m.Store.SetLocale(ctx, userID, locale, now)
}

// Whatever else changes while somebody chooses a language stays changed.
func TestChosenLanguageIsAllThatChanges(t *testing.T) {
	m := &meanwhile{}
	h := open(t, option{store: func(s web.Store) web.Store { m.Store = s; return m }})
	b := h.browser(t)
	u := b.register("asha@example.com")
	u.Name, u.Profile.Nickname, u.Profile.Locale = "Asha Gurung-Rai", "Ash", "de"
	m.do = func() {
		if err := h.sql.SetProfile(t.Context(), u.ID, u.Name, u.Profile, h.now()); err != nil {
			t.Error(err)
		}
	}
	b.choose(b.open("/account"), "ne")
	u.Profile.Locale = "ne"
	if now, err := h.sql.User(t.Context(), u.ID); err != nil || now.Name != u.Name || now.Profile != u.Profile {
		t.Errorf("%q, %+v, %v; want %q, %+v", now.Name, now.Profile, err, u.Name, u.Profile)
	}
}

// TestPagesInEveryLanguage shows every page in every state in every language,
// and finds what is left of the English.
func TestPagesInEveryLanguage(t *testing.T) {
	h := open(t, option{dev: withDev(t)})
	b := h.browser(t)
	b.open("/login") // so that forms have their tokens
	var list []struct{ Page, State, Path string }
	if err := json.Unmarshal([]byte(b.get("/dev/pages.json").body), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 50 {
		t.Fatalf("%d pages: the list is broken", len(list))
	}
	all, err := text.Load()
	if err != nil {
		t.Fatal(err)
	}
	english := map[string][]string{}
	for _, p := range list {
		english[p.Path] = spoken(b.likes(p.Path, "en"))
	}
	for _, tag := range text.Languages() {
		dir := "ltr"
		if tag == "ar" {
			dir = "rtl"
		}
		prefix := all[tag].Plain("common.error_prefix")
		t.Run(tag, func(t *testing.T) {
			for _, p := range list {
				page := b.likes(p.Path, tag)
				if page.page() != p.Page || page.language() != tag+" "+dir {
					t.Errorf("%s: page %q is in %s", p.Path, page.page(), page.language())
				}
				for _, broken := range []string{"{brand}", "{app}", "&lt;0&gt;", "&lt;/0&gt;", "%!"} {
					if strings.Contains(page.body, broken) {
						t.Errorf("%s: %q", p.Path, broken)
					}
				}
				for _, fault := range faults(strings.Replace(page.body, "<title>"+prefix, "<title>Error:", 1)) {
					t.Errorf("%s: %s", p.Path, fault)
				}
				if tag == text.Fallback {
					continue
				}
				for _, said := range spoken(page) {
					if slices.Contains(english[p.Path], said) && !anyLanguage(said) {
						t.Errorf("%s is not translated: %q", p.Path, said)
					}
				}
			}
		})
	}
}

var (
	anyElement = regexp.MustCompile(`(?s)<[a-z]+[^>]* lang="en"[^>]*>[^<]*|<(?:script|style|svg)[^>]*>.*?</(?:script|style|svg)>|<[^>]*>`)
	spokenAttr = regexp.MustCompile(` (?:aria-label|alt|title|placeholder|data-show|data-hide|data-[a-z-]*text)="([^"]+)"`)
)

// spoken are the pieces of text of a page, and the attributes that are read out.
func spoken(a answer) []string {
	var pieces []string
	for _, piece := range anyElement.Split(a.body, -1) {
		pieces = append(pieces, strings.TrimSpace(html.UnescapeString(piece)))
	}
	for _, m := range spokenAttr.FindAllStringSubmatch(a.body, -1) {
		pieces = append(pieces, html.UnescapeString(m[1]))
	}
	return pieces
}

// proper are names and what is written for programs, and the words that a
// language has in common with English.
var proper = regexp.MustCompile(`^(?:Gatehouse|Meridian ID|Asha Gurung|AG|Tidepool Notes|Kiln Studio|TN|KS|TC|The Tidepool .* Western Coast|(?:Tidepool Notes|Kiln Studio) – Gatehouse` +
	`|Chrome on Android|Pokhara, Nepal|[0-9:]+ UTC|English|नेपाली|العربية|Deutsch|Español` +
	`|[^ ]+@[^ ]+|https?://.*|[a-z0-9.-]+\.example(?::[0-9]+)?|Mozilla/.*|[0-9a-f.:]+|[A-Z0-9]{4,5}(?:[ -][A-Z0-9]{4,5})+.*|[0-9]+` +
	`|[a-z_]+(?:\.[a-z_]+)*|GH|Details|Website|Code|Error|Error:|Download|App|Name|Version|Typ|Support|Status|Android|iPhone)$`)

// anyLanguage reports whether a piece of text is the same in every language.
func anyLanguage(said string) bool {
	return proper.MatchString(said) || !regexp.MustCompile(`\p{L}{2}`).MatchString(said)
}
