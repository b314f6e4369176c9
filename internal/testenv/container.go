package testenv

import (
	"cmp"
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

const (
	// What containers are made of, unless GATEHOUSE_TEST_POSTGRES_IMAGE or
	// GATEHOUSE_TEST_VALKEY_IMAGE name images that answer like these.
	postgresImage = "postgres:17-alpine"
	valkeyImage   = "valkey/valkey:8-alpine"

	// label is on every container; its value is GATEHOUSE_TEST_RUN. Whoever sets
	// that can tell the containers of that run, and remove them.
	label = "gatehouse.test"

	// password guards the containers, which listen beyond loopback on some
	// engines.
	password = "gatehouse"

	// pull is how long images may take to arrive.
	pull = 2 * time.Minute
)

// engine reports whether a Docker engine answers, where the clients of Docker
// look for one, and tells testcontainers where it is. It takes no time when
// there is none.
var engine = sync.OnceValue(func() bool {
	home, _ := os.UserHomeDir() // none: those candidates do not exist
	hosts := []string{
		os.Getenv("DOCKER_HOST"),
		"unix:///var/run/docker.sock",
		"unix://" + filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "docker.sock"),
		"unix://" + filepath.Join(home, ".docker", "run", "docker.sock"),
		"unix://" + filepath.Join(home, ".colima", "default", "docker.sock"),
	}
	if hosts[0] != "" {
		hosts = hosts[:1]
	}
	for _, host := range hosts {
		if host == "" {
			continue
		}
		c, err := client.New(client.FromEnv, client.WithHost(host))
		if err != nil {
			continue
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 900*time.Millisecond)
		defer cancel()
		if _, err := c.Ping(ctx, client.PingOptions{}); err != nil {
			continue
		}
		os.Setenv("DOCKER_HOST", host)
		// The name is deprecated for one that is not exported, and there is no other
		// way to ask which image the reaper needs.
		reaper := testcontainers.ReaperDefaultImage //nolint:staticcheck // see above
		if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "" && !available(c, reaper) {
			os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
		}
		return true
	}
	return false
})

// available reports whether the engine has the image or can pull it.
func available(c *client.Client, image string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), pull)
	defer cancel()
	if _, err := c.ImageInspect(ctx, image); err == nil {
		return true
	}
	r, err := c.ImagePull(ctx, image, client.ImagePullOptions{})
	if err != nil {
		return false
	}
	defer r.Close()
	return r.Wait(ctx) == nil
}

func postgresContainer(ctx context.Context) (string, error) {
	address, err := run(ctx, cmp.Or(os.Getenv(postgresEnv+"_IMAGE"), postgresImage), "5432/tcp",
		map[string]string{"POSTGRES_PASSWORD": password},
		append([]string{"postgres"}, postgresSettings...))
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Host: address, Path: "/postgres", RawQuery: "sslmode=disable"}
	return u.String(), nil
}

func valkeyContainer(ctx context.Context) (string, error) {
	address, err := run(ctx, cmp.Or(os.Getenv(valkeyEnv+"_IMAGE"), valkeyImage), "6379/tcp", nil,
		append([]string{"valkey-server", "--requirepass", password}, valkeySettings...))
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "valkey", User: url.UserPassword("", password), Host: address}
	return u.String(), nil
}

// run starts a container and returns the address of its port on this machine.
// The reaper removes it after the test binary. Where there is none, it removes
// itself, at the latest after half an hour.
func run(ctx context.Context, image, port string, env map[string]string, command []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pull)
	defer cancel()
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithExposedPorts(port),
		testcontainers.WithEnv(env),
		testcontainers.WithCmd(command...),
		testcontainers.WithLabels(map[string]string{label: os.Getenv("GATEHOUSE_TEST_RUN")}),
	}
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "true" {
		options = append(options,
			testcontainers.WithEntrypoint("timeout", "1800", "docker-entrypoint.sh"),
			testcontainers.WithHostConfigModifier(func(h *container.HostConfig) { h.AutoRemove = true }),
		)
	}
	c, err := testcontainers.Run(ctx, image, options...)
	if err != nil {
		return "", err
	}
	// In a container testcontainers looks for the port at the gateway, where the
	// engine is when its socket was handed in. It may as well run beside us.
	published, err := c.MappedPort(ctx, port)
	if err != nil {
		return "", err
	}
	here := net.JoinHostPort("127.0.0.1", published.Port())
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", here); err == nil {
		return here, conn.Close()
	}
	return c.PortEndpoint(ctx, port, "")
}
