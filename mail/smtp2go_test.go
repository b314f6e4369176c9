package mail

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

const testKey = "api-0123456789ABCDEF0123456789ABCDEF"

// newSMTP2GO starts a server whose API answers so to a request that is as
// documented, and otherwise as SMTP2GO does.
func newSMTP2GO(t *testing.T, status int, answer string) (s *SMTP2GO, requests chan smtp2goMessage) {
	t.Helper()
	requests = make(chan smtp2goMessage, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var m smtp2goMessage
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		switch {
		case r.URL.Path != "/v3/email/send":
			w.WriteHeader(http.StatusNotFound)
		case r.Method != http.MethodPost:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Header.Get("X-Smtp2go-Api-Key") != testKey:
			w.WriteHeader(http.StatusUnauthorized)
		case r.Header.Get("Content-Type") != "application/json" || d.Decode(&m) != nil || len(m.To) != 1 || m.Sender == "":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"request_id": "r", "data": {"error": "malformed", "error_code": "E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD"}}`)
		default:
			requests <- m
			w.WriteHeader(status)
			_, _ = io.WriteString(w, answer)
		}
	}))
	t.Cleanup(server.Close)
	s, err := NewSMTP2GO(SMTP2GOConfig{Key: testKey, From: testFrom, URL: server.URL + "/v3"})
	if err != nil {
		t.Fatal(err)
	}
	return s, requests
}

var greeting = Message{ID: "letter-1", Kind: Test, To: "asha@example.com", Subject: "4821 0937 is your code", Text: "Good day.\n", HTML: "<p>Good day.</p>\n", Date: noon}

func TestSMTP2GO(t *testing.T) {
	const sent = `{"request_id": "r", "data": {"succeeded": 1, "failed": 0, "failures": [], "email_id": "1abc"}}`
	type outcome int
	const (
		delivered outcome = iota
		refused
		retried
	)
	tests := []struct {
		about  string
		status int
		answer string
		want   outcome
		says   string
	}{
		{"a letter that was taken", 200, sent, delivered, ""},
		{"seed-F2: a recipient that failed", 200, `{"data": {"succeeded": 0, "failed": 1, "failures": ["asha@example.com: blocked"]}}`, refused, "recipient"},
		{"seed-F2: a recipient that failed, in an object", 200, `{"data": {"succeeded": 0, "failed": 1, "failures": [{"email": "asha@example.com"}]}}`, refused, "recipient"},
		{"seed-F2: a failure that nobody counted", 200, `{"data": {"succeeded": 1, "failed": 0, "failures": ["asha@example.com"]}}`, refused, "recipient"},
		{"seed-F2: nobody succeeded and nobody failed", 200, `{"data": {"succeeded": 0, "failed": 0, "failures": []}}`, retried, "0 of 1"},
		{"seed-F2: an error under status 200", 200, `{"data": {"error": "asha@example.com", "error_code": "E_ApiResponseCodes.API_EXCEPTION"}}`, retried, "E_ApiResponseCodes.API_EXCEPTION"},
		{"an answer that is no JSON", 200, `<html>`, retried, "not what its documentation says"},
		{"an answer without end", 200, `{"data": "` + strings.Repeat("x", 2*maxAnswer), retried, "not what its documentation says"},
		{"no answer", 200, ``, retried, "not what its documentation says"},
		{"seed-F2: a request that is refused", 400, `{"data": {"error": "asha@example.com is malformed", "error_code": "E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD"}}`, refused, "status 400: E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD"},
		{"an error beside data", 400, `{"error": "asha@example.com is malformed", "error_code": "E_ApiResponseCodes.API_EXCEPTION"}`, refused, "status 400: E_ApiResponseCodes.API_EXCEPTION"},
		{"an error code that is a sentence", 400, `{"error_code": "write to asha@example.com"}`, refused, "status 400"},
		{"a letter that is too large", 413, ``, refused, "status 413"},
		{"a key that is not known", 401, ``, retried, "status 401"},
		{"a plan that is used up", 402, ``, retried, "status 402"},
		{"a key without permission", 403, `{"data": {"error_code": "E_ApiResponseCodes.ENDPOINT_PERMISSION_DENIED"}}`, retried, "ENDPOINT_PERMISSION_DENIED"},
		{"too many requests", 429, `{"data": {}}`, retried, "status 429"},
		{"trouble over there", 500, `oops`, retried, "status 500"},
		{"a gateway without its server", 502, `<html>`, retried, "status 502"},
		{"a success that is none", 202, sent, retried, "status 202"},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			s, requests := newSMTP2GO(t, tt.status, tt.answer)
			err := s.Send(t.Context(), greeting)
			got := retried
			switch {
			case err == nil:
				got = delivered
			case errors.Is(err, ErrRefused):
				got = refused
			}
			if got != tt.want {
				t.Errorf("err = %v, want outcome %d", err, tt.want)
			}
			if len(requests) != 1 {
				t.Errorf("%d requests", len(requests))
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("err = %v, want %q in it", err, tt.says)
			}
			if strings.Contains(err.Error(), "asha") || strings.Contains(err.Error(), testKey) {
				t.Errorf("the error holds the address or the key: %v", err)
			}
		})
	}
}

func TestSMTP2GORequest(t *testing.T) {
	s, requests := newSMTP2GO(t, 200, `{"data": {"succeeded": 1, "failed": 0, "failures": []}}`)
	if err := s.Send(t.Context(), greeting); err != nil {
		t.Fatal(err)
	}
	want := smtp2goMessage{
		Sender: `"Meridian ID" <no-reply@id.example>`, To: []string{"asha@example.com"},
		Subject: "4821 0937 is your code", TextBody: "Good day.\n", HTMLBody: "<p>Good day.</p>\n",
		CustomHeaders: []smtp2goHeader{{"Message-ID", "<letter-1@id.example>"}, {"Auto-Submitted", "auto-generated"}},
	}
	if got := <-requests; !reflect.DeepEqual(got, want) {
		t.Errorf("requested\n%+v, want\n%+v", got, want)
	}
	t.Run("sec-L5: a recipient is one address and nothing else", func(t *testing.T) {
		for _, to := range []string{"", "asha", "asha@example.com, mallory@evil.example", "asha@example.com\r\nBcc: mallory@evil.example", "Asha <asha@example.com>"} {
			m := greeting
			m.To = to
			if err := s.Send(t.Context(), m); !errors.Is(err, ErrRefused) {
				t.Errorf("%q: err = %v, want %v", to, err, ErrRefused)
			}
		}
		if len(requests) != 0 {
			t.Errorf("%d requests", len(requests))
		}
	})
}

func TestSMTP2GOConnection(t *testing.T) {
	sender := func(t *testing.T, url string) *SMTP2GO {
		s, err := NewSMTP2GO(SMTP2GOConfig{Key: testKey, From: testFrom, URL: url})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("seed-F3: a server that is silent holds nobody up", func(t *testing.T) {
		done := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
		defer server.Close()
		defer close(done)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := sender(t, server.URL).Send(ctx, greeting); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRefused) {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(start); took >= sendTimeout {
			t.Errorf("took %v", took)
		}
	})
	t.Run("seed-F3: connections are used again", func(t *testing.T) {
		peers := make(chan string, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peers <- r.RemoteAddr
			_, _ = io.WriteString(w, `{"data": {"succeeded": 1}}`)
		}))
		defer server.Close()
		s := sender(t, server.URL)
		// On a busy machine the transport may give one up, but not each.
		last := ""
		for range 50 {
			if err := s.Send(t.Context(), greeting); err != nil {
				t.Fatal(err)
			}
			peer := <-peers
			if peer == last {
				return
			}
			last = peer
		}
		t.Error("each of 50 letters came by a connection of its own")
	})
	t.Run("the key follows no redirect", func(t *testing.T) {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("a redirect was followed, with the key %q", r.Header.Get("X-Smtp2go-Api-Key"))
		}))
		defer elsewhere.Close()
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
		defer server.Close()
		if err := sender(t, server.URL).Send(t.Context(), greeting); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("err = %v, want one that may pass", err)
		}
	})
	t.Run("a server that is not there", func(t *testing.T) {
		err := sender(t, "http://127.0.0.1:1").Send(t.Context(), greeting)
		if err == nil || errors.Is(err, ErrRefused) || strings.Contains(err.Error(), testKey) {
			t.Errorf("err = %v, want one that may pass, without the key", err)
		}
	})
}

func TestSMTP2GOConfig(t *testing.T) {
	tests := []struct {
		about string
		c     SMTP2GOConfig
		ok    bool
	}{
		{"a key and a sender", SMTP2GOConfig{Key: testKey, From: testFrom}, true},
		{"another region", SMTP2GOConfig{Key: testKey, From: testFrom, URL: "https://eu-api.smtp2go.com/v3"}, true},
		{"no key", SMTP2GOConfig{From: testFrom}, false},
		{"seed-F5: a key with a line end", SMTP2GOConfig{Key: testKey + "\n", From: testFrom}, false},
		{"seed-F5: a password for a key", SMTP2GOConfig{Key: "s3cret", From: testFrom}, false},
		{"no sender", SMTP2GOConfig{Key: testKey}, false},
		{"http to another machine", SMTP2GOConfig{Key: testKey, From: testFrom, URL: "http://api.smtp2go.com/v3"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			_, err := NewSMTP2GO(tt.c)
			if (err == nil) != tt.ok {
				t.Errorf("err = %v, want ok %v", err, tt.ok)
			}
			if err != nil && tt.c.Key != "" && strings.Contains(err.Error(), strings.TrimSpace(tt.c.Key)) {
				t.Errorf("the error holds the key: %v", err)
			}
		})
	}
}
