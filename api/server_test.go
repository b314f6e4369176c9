package api_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-id/gatehouse/api"
	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
)

// TestNewNamesWhatIsMissing: a server is not made of nothing.
func TestNewNamesWhatIsMissing(t *testing.T) {
	if _, err := api.New(api.Config{}); err == nil || !strings.Contains(err.Error(), "Login and Tokens are required") {
		t.Errorf("got %v", err)
	}
}

// TestHealth: probes are answered without a token, and told when the server is
// about to stop.
func TestHealth(t *testing.T) {
	h := newHouse(t, embedded)
	health := healthv1.NewHealthClient(h.conn)
	check := func(service string) string {
		r, err := health.Check(h.ctx(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil {
			return verdict(t, err)
		}
		return r.GetStatus().String()
	}
	services := []string{"", "gatehouse.auth.v1.AuthenticationService", "gatehouse.auth.v1.AccountService"}
	for _, s := range services {
		if got := check(s); got != "SERVING" {
			t.Errorf("sec-G1 the health of %q is %s", s, got)
		}
	}
	if got := check("nobody"); got != "NOT_FOUND" {
		t.Errorf("the health of nobody is %s", got)
	}
	watch, err := health.Watch(h.ctx(), &healthv1.HealthCheckRequest{})
	must(t, err)
	if r, err := watch.Recv(); err != nil || r.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", r, err)
	}
	h.server.Leave()
	if r, err := watch.Recv(); err != nil || r.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("got %v, %v", r, err)
	}
	for _, s := range services {
		if got := check(s); got != "NOT_SERVING" {
			t.Errorf("the health of %q is %s before the server stops", s, got)
		}
	}
}

// TestReflection: the contract is told by those servers alone that are asked to.
func TestReflection(t *testing.T) {
	for _, on := range []bool{false, true} {
		h := newHouse(t, embedded, change{api: func(c *api.Config) { c.Reflection = on }})
		ctx, cancel := context.WithCancel(h.ctx())
		defer cancel()
		s, err := reflectionv1.NewServerReflectionClient(h.conn).ServerReflectionInfo(ctx)
		must(t, err)
		_ = s.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
		r, err := s.Recv()
		switch {
		case on && (err != nil || !strings.Contains(r.String(), "gatehouse.auth.v1.AccountService")):
			t.Errorf("got %v, %v", r, err)
		case !on && status.Code(err) != codes.Unimplemented:
			t.Errorf("reflection that is off says %v, %v", r, err)
		}
	}
}

// TestStop: calls that have begun end, none begins, and what never ends is ended.
func TestStop(t *testing.T) {
	h := newHouse(t, embedded)
	h.person(ashaEmail)
	patience, done := context.WithTimeout(h.ctx(), time.Minute)
	defer done()
	watch, err := healthv1.NewHealthClient(h.conn).Watch(patience, &healthv1.HealthCheckRequest{})
	must(t, err)
	_, err = watch.Recv()
	must(t, err)

	begun, release := make(chan struct{}), make(chan struct{})
	wait := func() { close(begun); <-release }
	h.hashing.Store(&wait)
	answered := make(chan error, 1)
	go func() {
		_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
		answered <- err
	}()
	<-begun
	h.hashing.Store(nil)
	stopped := make(chan error, 1)
	go func() { stopped <- h.server.Stop(h.ctx()) }()
	for { // until the stream has ended, which is when stopping has begun
		if _, err := watch.Recv(); err != nil {
			break
		}
	}
	if patience.Err() != nil {
		t.Error("a stream outlived the server")
	}
	other := h.dial()
	defer func() { _ = other.Close() }()
	// The streams end first, so a call may still have come in between.
	for {
		ctx, cancel := context.WithTimeout(h.ctx(), 200*time.Millisecond)
		_, err := healthv1.NewHealthClient(other).Check(ctx, &healthv1.HealthCheckRequest{}) // which no limit refuses
		cancel()
		if err != nil {
			break
		}
		if patience.Err() != nil {
			t.Error("calls begin while the server stops")
			break
		}
	}
	select {
	case err := <-stopped:
		t.Fatalf("the server stopped before its calls had ended: %v", err)
	default:
	}
	close(release)
	want(t, <-answered, "ok")
	must(t, <-stopped)
}

// TestStopCutsOff: a call that does not end by then is cut off, and that is told.
func TestStopCutsOff(t *testing.T) {
	h := newHouse(t, embedded)
	h.person(ashaEmail)
	begun, release := make(chan struct{}), make(chan struct{})
	wait := func() { close(begun); <-release }
	h.hashing.Store(&wait)
	answered := make(chan error, 1)
	go func() {
		_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
		answered <- err
	}()
	<-begun
	h.hashing.Store(nil)
	ctx, cancel := context.WithCancel(h.ctx())
	cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- h.server.Stop(ctx) }()
	if err := <-answered; err == nil {
		t.Error("the call was answered")
	}
	select {
	case err := <-stopped:
		t.Errorf("the handler was not waited for: %v", err)
	default:
	}
	close(release)
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestCallsOfOneConnection: a connection has so many calls at once and no more.
func TestCallsOfOneConnection(t *testing.T) {
	h := newHouse(t, embedded)
	client := healthv1.NewHealthClient(h.conn)
	ctx, cancel := context.WithCancel(h.ctx())
	defer cancel()
	for range 100 {
		s, err := client.Watch(ctx, &healthv1.HealthCheckRequest{})
		must(t, err)
		_, err = s.Recv()
		must(t, err)
	}
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	if _, err := client.Check(short, &healthv1.HealthCheckRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the 101st call says %v", err)
	}
	other := h.dial()
	defer func() { _ = other.Close() }()
	if _, err := healthv1.NewHealthClient(other).Check(h.ctx(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Errorf("another connection: %v", err)
	}
}

// TestGeneratedIsFresh generates the code anew and compares.
func TestGeneratedIsFresh(t *testing.T) {
	root, err := filepath.Abs("..")
	must(t, err)
	dir := t.TempDir()
	c := exec.Command("make", "--no-print-directory", "-C", root, "proto", "PROTO_OUT="+dir)
	if out, err := c.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "true" && strings.Contains(string(out), "dial tcp") {
			t.Skipf("the tools cannot be downloaded: %s", out)
		}
		t.Fatalf("make proto: %v\n%s", err, out)
	}
	committed, err := filepath.Glob("gatehouse/auth/v1/*.pb.go")
	must(t, err)
	made, err := filepath.Glob(filepath.Join(dir, "api/gatehouse/auth/v1/*.pb.go"))
	must(t, err)
	if len(committed) != len(made) || len(made) < 5 {
		t.Errorf("%d files are committed and %d made", len(committed), len(made))
	}
	for _, path := range made {
		name := filepath.Base(path)
		want, err := os.ReadFile(path)
		must(t, err)
		got, err := os.ReadFile(filepath.Join("gatehouse/auth/v1", name))
		must(t, err)
		if string(got) != string(want) {
			t.Errorf("%s is not what its contract says; run make generate", name)
		}
	}
}
