//go:build !slim

package main

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gatehouse-id/gatehouse/storage"
)

// checkRequest is what Envoy asks about a request, with the headers in a map.
func checkRequest(token, audience, scope string) *auth.CheckRequest {
	headers := map[string]string{
		":authority": "api.example.org", ":method": "GET", ":path": "/notes/1", ":scheme": "https",
		"user-agent": "curl/8", "x-request-id": "0198c0de-0000-7000-8000-000000000000", "x-auth-subject": "admin",
	}
	if token != "" {
		headers["authorization"] = "Bearer " + token
	}
	r := &auth.CheckRequest{Attributes: &auth.AttributeContext{
		Source:      &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "192.0.2.7"}}}},
		Destination: &auth.AttributeContext_Peer{},
		Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Path: "/notes/1", Host: "api.example.org", Scheme: "https", Protocol: "HTTP/2", Headers: headers,
		}},
		ContextExtensions: map[string]string{},
	}}
	if audience != "" {
		r.Attributes.ContextExtensions["audience"] = audience
	}
	if scope != "" {
		r.Attributes.ContextExtensions["scope"] = scope
	}
	return r
}

// rawRequest is the same with the headers as they came (encode_raw_headers).
func rawRequest(audience, scope string, authorization ...string) *auth.CheckRequest {
	r := checkRequest("", audience, scope)
	h := r.Attributes.Request.Http
	h.Headers, h.HeaderMap = nil, &core.HeaderMap{Headers: []*core.HeaderValue{{Key: ":path", RawValue: []byte("/notes/1")}}}
	for _, value := range authorization {
		h.HeaderMap.Headers = append(h.HeaderMap.Headers, &core.HeaderValue{Key: "Authorization", RawValue: []byte(value)})
	}
	return r
}

// A door is a server in this process at which Envoy asks.
type door struct {
	*server
	auth.AuthorizationClient
	health healthv1.HealthClient
	// unfollow ends that the server follows revocations.
	unfollow func()
}

func newDoor(t *testing.T) door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := embeddedConfig(t)
	c.GRPCAddr = l.Addr().String()
	s := built(t, c)
	following, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = s.denylist.Run(following)
	}()
	unfollow := func() { stop(); <-stopped }
	t.Cleanup(unfollow)
	if err := s.denylist.Follow(t.Context()); err != nil { // what was read at first may be old by now
		t.Fatal(err)
	}
	go func() { _ = s.api.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.api.Stop(ctx)
	})
	conn, err := grpc.NewClient(c.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return door{s, auth.NewAuthorizationClient(conn), healthv1.NewHealthClient(conn), unfollow}
}

// robot is a token of a client itself.
func (d door) robot(t *testing.T, scope, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"robot"}, "client_secret": {"robot's secret"}, "scope": {scope}, "resource": {resource}}
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	_, rest, _ := strings.Cut(w.Body.String(), `"access_token":"`)
	token, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("client_credentials are answered %d %s", w.Code, w.Body)
	}
	return token
}

func valueOf(headers []*core.HeaderValueOption, name string) string {
	for _, h := range headers {
		if strings.EqualFold(h.GetHeader().GetKey(), name) {
			return h.GetHeader().GetValue()
		}
	}
	return ""
}

// TestExternalAuthorization asks over gRPC what Envoy asks.
func TestExternalAuthorization(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	now, sum := d.clock.Now(), sha256.Sum256([]byte("robot's secret"))
	if err := d.sql.CreateClient(t.Context(), storage.Client{
		ID: "robot", Name: "Robot", AuthMethod: storage.AuthSecretPost, SecretHashes: [][]byte{sum[:]},
		GrantTypes: []string{"client_credentials"}, Scopes: []string{"notes", "other"}, Resources: []string{notesAPI, mailAPI}, CreatedAt: now, UpdatedAt: now,
	}); err != nil {
		t.Fatal(err)
	}
	good, other, mail := d.robot(t, "notes", notesAPI), d.robot(t, "other", notesAPI), d.robot(t, "notes", mailAPI)

	for _, row := range []struct {
		sentence string
		request  *auth.CheckRequest
		code     codes.Code
		status   int
		// challenge is part of WWW-Authenticate.
		challenge string
	}{
		{"a good token, headers in a map", checkRequest(good, notesAPI, "notes"), codes.OK, 200, ""},
		{"a good token, headers as they came", rawRequest(notesAPI, "notes", "Bearer "+good), codes.OK, 200, ""},
		{"a route without scopes", checkRequest(good, notesAPI, ""), codes.OK, 200, ""},
		{"no token", checkRequest("", notesAPI, "notes"), codes.Unauthenticated, 401, `Bearer realm="` + d.config.URL + `"`},
		{"sec-E3 another audience", checkRequest(mail, notesAPI, "notes"), codes.Unauthenticated, 401, `error="invalid_token"`},
		{"a scope that it lacks", checkRequest(other, notesAPI, "notes"), codes.PermissionDenied, 403, `error="insufficient_scope"`},
		{"garbage", checkRequest("garbage", notesAPI, "notes"), codes.Unauthenticated, 401, `error="invalid_token"`},
		{"two tokens as they came", rawRequest(notesAPI, "notes", "Bearer "+good, "Bearer "+other), codes.Unauthenticated, 401, `error="invalid_request"`},
		{"two tokens joined in a map", checkRequest(good+",Bearer "+good, notesAPI, "notes"), codes.Unauthenticated, 401, `error="invalid_token"`},
		{"sec-E3 a route without an audience lets nobody in", checkRequest(good, "", "notes"), codes.FailedPrecondition, 500, ""},
		{"a route with a malformed scope lets nobody in", checkRequest(good, notesAPI, `"`), codes.FailedPrecondition, 500, ""},
		{"a request without attributes", &auth.CheckRequest{}, codes.FailedPrecondition, 500, ""},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			r, err := d.Check(t.Context(), row.request)
			if err != nil {
				t.Fatalf("an error of the RPC leaves the decision to failure_mode_allow: %v", err)
			}
			if code := codes.Code(r.GetStatus().GetCode()); code != row.code {
				t.Errorf("the status is %v, want %v", code, row.code)
			}
			if row.code == codes.OK {
				h := r.GetOkResponse().GetHeaders()
				if valueOf(h, "X-Auth-Subject") != "robot" || valueOf(h, "X-Auth-Client") != "robot" || valueOf(h, "X-Auth-Scope") != "notes" {
					t.Errorf("the headers are %v", h)
				}
				for _, one := range h {
					if one.GetAppendAction() != core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
						t.Errorf("%v stands beside what the client sent", one)
					}
				}
				if gone := r.GetOkResponse().GetHeadersToRemove(); !slices.Contains(gone, "X_Auth_Subject") || slices.Contains(gone, "X-Auth-Subject") {
					t.Errorf("the headers removed are %q", gone)
				}
				return
			}
			denied := r.GetDeniedResponse()
			if denied == nil || int(denied.GetStatus().GetCode()) != row.status {
				t.Fatalf("answered %v, want %d", r, row.status)
			}
			if got := valueOf(denied.GetHeaders(), "WWW-Authenticate"); !strings.Contains(got, row.challenge) || row.challenge == "" && got != "" {
				t.Errorf("the challenge is %q, want %q", got, row.challenge)
			}
		})
	}
	t.Run("it is healthy", func(t *testing.T) {
		r, err := d.health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
		if err != nil || r.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%v (%v)", r, err)
		}
	})
	t.Run("sec-Q3 when nobody can say whether it was revoked, nobody is let in", func(t *testing.T) {
		d.unfollow()
		// And Valkey is gone.
		if err := d.volatile.Close(); err != nil {
			t.Fatal(err)
		}
		await(t, "it is denied", func() bool {
			r, err := d.Check(t.Context(), checkRequest(good, notesAPI, "notes"))
			return err == nil && r.GetDeniedResponse().GetStatus().GetCode() == http.StatusServiceUnavailable &&
				valueOf(r.GetDeniedResponse().GetHeaders(), "Retry-After") == "5" && codes.Code(r.GetStatus().GetCode()) == codes.Unavailable
		})
		r := httptest.NewRequest(http.MethodGet, "/gateway/check?audience="+notesAPI, nil)
		r.Header.Set("Authorization", "Bearer "+good)
		w := httptest.NewRecorder()
		if d.handler.ServeHTTP(w, r); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "5" {
			t.Errorf("at /gateway/check it is answered %d %v", w.Code, w.Header())
		}
	})
}
