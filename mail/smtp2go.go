package mail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	netmail "net/mail"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// SMTP2GOURL is where SMTP2GO's API is, version 3.
const SMTP2GOURL = "https://api.smtp2go.com/v3"

// maxAnswer is how much, in bytes, is read of an answer of the API.
const maxAnswer = 64 << 10

// SMTP2GOConfig is what an SMTP2GO is made of.
type SMTP2GOConfig struct {
	// Key is the API key: api- and letters and digits. Required.
	Key string
	// From is who letters are from, such as
	// "Meridian ID <no-reply@id.example>". Required; SMTP2GO must know its
	// domain.
	From string
	// URL is where the API is; empty is [SMTP2GOURL].
	URL string
}

// An SMTP2GO sends messages through the HTTP API of smtp2go.com.
type SMTP2GO struct {
	key    string
	from   *netmail.Address
	domain string
	host   string
	url    string
	client *http.Client
}

// NewSMTP2GO returns a sender. It connects when it sends.
func NewSMTP2GO(c SMTP2GOConfig) (*SMTP2GO, error) {
	// What is wrong with a key is not shown: it may be one letter.
	rest, ok := strings.CutPrefix(c.Key, "api-")
	if !ok || rest == "" || strings.ContainsFunc(rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		return nil, errors.New("mail: an SMTP2GO key is api- and letters and digits")
	}
	from, err := parseFrom(c.From)
	if err != nil {
		return nil, err
	}
	if c.URL == "" {
		c.URL = SMTP2GOURL
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("mail: SMTP2GO is reached by https, not at %q", c.URL)
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	return &SMTP2GO{
		key: c.Key, from: from, domain: domain, host: u.Hostname(), url: u.JoinPath("email", "send").String(),
		client: &http.Client{
			Timeout: sendTimeout,
			// A redirect would take the key along.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// smtp2goMessage is the request. See
// https://developers.smtp2go.com/reference/send-standard-email.
type smtp2goMessage struct {
	Sender        string          `json:"sender"`
	To            []string        `json:"to"`
	Subject       string          `json:"subject"`
	TextBody      string          `json:"text_body"`
	HTMLBody      string          `json:"html_body"`
	CustomHeaders []smtp2goHeader `json:"custom_headers"`
}

type smtp2goHeader struct {
	Header string `json:"header"`
	Value  string `json:"value"`
}

// smtp2goAnswer is the answer. What went wrong stands beside data or in it.
type smtp2goAnswer struct {
	ErrorCode string `json:"error_code"`
	Data      struct {
		Succeeded int               `json:"succeeded"`
		Failed    int               `json:"failed"`
		Failures  []json.RawMessage `json:"failures"`
		ErrorCode string            `json:"error_code"`
	} `json:"data"`
}

// Send sends m in one request.
func (s *SMTP2GO) Send(ctx context.Context, m Message) error {
	to, err := netmail.ParseAddress(m.To)
	if err != nil || to.Address != m.To {
		return fmt.Errorf("%w: malformed recipient", ErrRefused)
	}
	body, err := json.Marshal(smtp2goMessage{
		Sender: s.from.String(), To: []string{m.To}, Subject: m.Subject, TextBody: m.Text, HTMLBody: m.HTML,
		CustomHeaders: []smtp2goHeader{
			{"Message-ID", "<" + m.ID + "@" + s.domain + ">"},
			{"Auto-Submitted", "auto-generated"}, // RFC 3834 section 5: nobody's holiday answers it
		},
	})
	if err != nil {
		return fmt.Errorf("SMTP2GO: encode letter: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	ctx, span := conversation(ctx, "SMTP2GO", s.host)
	defer span.End()
	switch err := s.post(ctx, body); {
	case err == nil:
		return nil
	case errors.Is(err, ErrRefused):
		failed(span, outcomeRefused)
		return err
	default:
		failed(span, outcomeFailed)
		return err
	}
}

// post makes the request.
func (s *SMTP2GO) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("SMTP2GO: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Smtp2go-Api-Key", s.key)
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("SMTP2GO: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	trace.SpanFromContext(ctx).SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("SMTP2GO: read answer: %w", err)
	}
	var answer smtp2goAnswer
	malformed := json.Unmarshal(content, &answer)
	if resp.StatusCode != http.StatusOK {
		return answer.refusal(resp.StatusCode)
	}
	switch d := answer.Data; {
	case malformed != nil:
		return errors.New("SMTP2GO: the answer is not what its documentation says")
	case d.Failed > 0 || len(d.Failures) > 0:
		// There is one recipient, so nobody got it. The reasons name addresses.
		return fmt.Errorf("%w: SMTP2GO: recipient", ErrRefused)
	case d.Succeeded != 1:
		return fmt.Errorf("SMTP2GO: %d of 1 recipients succeeded%s", d.Succeeded, answer.code())
	}
	return nil
}

// refusal is the error of a status that is not 200.
func (a smtp2goAnswer) refusal(status int) error {
	reason := fmt.Errorf("SMTP2GO: status %d%s", status, a.code())
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound:
		return reason // the key or the account, which somebody can mend
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return reason
	}
	if status >= 400 && status < 500 {
		return fmt.Errorf("%w: %w", ErrRefused, reason)
	}
	return reason
}

// code is the API's name for what went wrong, if it looks like one: the
// sentences beside it may hold addresses.
func (a smtp2goAnswer) code() string {
	code := a.Data.ErrorCode
	if code == "" {
		code = a.ErrorCode
	}
	if code == "" || len(code) > 80 || strings.ContainsFunc(code, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.'
	}) {
		return ""
	}
	return ": " + code
}
