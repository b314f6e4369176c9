package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoy "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gatehouse-id/gatehouse/provider"
)

// ServeAuthorization adds Envoy's external authorization,
// envoy.service.auth.v3.Authorization, before Serve: the question of
// /gateway/check, as Envoy asks it. What a route needs stands in its context
// extensions "audience" and "scope".
func (s *Server) ServeAuthorization(p *provider.Provider) {
	auth.RegisterAuthorizationServer(s.grpc, authorization{provider: p})
	s.health.SetServingStatus(auth.Authorization_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
}

type authorization struct {
	auth.UnimplementedAuthorizationServer
	provider *provider.Provider
}

// identity are the headers that a request is handed on with.
var identity = []string{provider.HeaderSubject, provider.HeaderClient, provider.HeaderScope}

// aliases are other spellings, which some servers take for the same names: CGI
// makes one variable of X-Auth-Subject and X_Auth_Subject.
var aliases = func() (names []string) {
	for _, name := range identity {
		parts := strings.Split(name, "-")
		for _, first := range "-_." {
			for _, second := range "-_." {
				if alias := parts[0] + string(first) + parts[1] + string(second) + parts[2]; alias != name {
					names = append(names, alias)
				}
			}
		}
	}
	return names
}()

// Check decides about one request. It always answers: an error of the RPC would
// leave the decision to Envoy's failure_mode_allow, which may let everybody in. A
// question of more than maxMessage never comes here, and is such an error.
func (a authorization) Check(ctx context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
	route := r.GetAttributes().GetContextExtensions()
	need, ok := provider.RequirementOf(route["audience"], route["scope"])
	if !ok {
		return denied(codes.FailedPrecondition, http.StatusInternalServerError, nil, map[string]string{
			"error":             "server_error",
			"error_description": "This route names no audience for the access token, or a malformed scope.",
		}), nil
	}
	c, e := a.provider.CheckAuthorization(ctx, authorizationOf(r.GetAttributes().GetRequest().GetHttp()), need)
	if e != nil {
		return a.refused(e, need), nil
	}
	return &auth.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: identified([]string{c.Subject, c.ClientID, c.Scope})},
	}, nil
}

// identified overwrites the headers that say who asks. One without a value is
// taken out instead, in case the client sent it.
func identified(values []string) *auth.OkHttpResponse {
	ok := &auth.OkHttpResponse{HeadersToRemove: aliases}
	for i, name := range identity {
		if values[i] == "" {
			ok.HeadersToRemove = append(slices.Clip(ok.HeadersToRemove), name)
			continue
		}
		ok.Headers = append(ok.Headers, header(name, values[i]))
	}
	return ok
}

// refused is the answer of /gateway/check.
func (a authorization) refused(e *provider.Error, need provider.Requirement) *auth.CheckResponse {
	var headers []*core.HeaderValueOption
	if challenge := a.provider.Challenge(e, need); challenge != "" {
		headers = append(headers, header("WWW-Authenticate", challenge))
	}
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		headers = append(headers, header("Retry-After", strconv.Itoa(int(seconds))))
	}
	code := codes.Unauthenticated
	switch {
	case e.Fault():
		code = codes.Unavailable
	case e.Status == http.StatusForbidden:
		code = codes.PermissionDenied
	}
	return denied(code, e.Status, headers, map[string]string{"error": e.Code, "error_description": e.Description})
}

func denied(code codes.Code, httpStatus int, headers []*core.HeaderValueOption, body map[string]string) *auth.CheckResponse {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always marshal
	}
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(code), Message: body["error"]},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status:  &envoy.HttpStatus{Code: envoy.StatusCode(httpStatus)},
			Headers: append(headers, header("Content-Type", "application/json"), header("Cache-Control", "no-store")),
			Body:    string(text),
		}},
	}
}

func header(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// authorizationOf returns the Authorization headers of a request. Envoy sends
// headers as they came (encode_raw_headers), or else in a map of lower-case names
// where several of one name are joined by commas: two tokens are then one that
// nobody signed.
func authorizationOf(r *auth.AttributeContext_HttpRequest) (values []string) {
	if raw := r.GetHeaderMap().GetHeaders(); len(raw) > 0 {
		for _, h := range raw {
			if !strings.EqualFold(h.GetKey(), "authorization") {
				continue
			}
			if v := h.GetRawValue(); len(v) > 0 {
				values = append(values, string(v))
			} else {
				values = append(values, h.GetValue())
			}
		}
		return values
	}
	if v, ok := r.GetHeaders()["authorization"]; ok {
		values = append(values, v)
	}
	return values
}
