package mail

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// queue is asynq's queue of letters, taskPrefix and a kind the type of a
	// task. The task's id is the row's, its payload the sealed letter.
	queue      = "mail"
	taskPrefix = "letter:"
	// retention is how long a delivered task is remembered. It stops the relay
	// from enqueueing a letter that was delivered, so it is long.
	retention = 24 * time.Hour
	// The delay between tries doubles from firstRetry to maxDelay; maxRetry of
	// them take more than a day.
	firstRetry = 2 * time.Second
	maxDelay   = 5 * time.Minute
	maxRetry   = 300
	// sendTimeout ends a conversation with a mail server.
	sendTimeout = 30 * time.Second
)

// connection reads the address of a Valkey server:
// valkey://[user[:password]@]host[:port][/db], or valkeys:// for TLS; redis://
// and rediss:// mean the same.
func connection(rawURL string) (asynq.RedisClientOpt, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The parser's error repeats the URL, and the URL has a password.
		return asynq.RedisClientOpt{}, fmt.Errorf("mail: malformed Valkey URL")
	}
	o := asynq.RedisClientOpt{Addr: u.Host, Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	switch u.Scheme {
	case "valkey", "redis":
	case "valkeys", "rediss":
		o.TLSConfig = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	default:
		return asynq.RedisClientOpt{}, fmt.Errorf("mail: a Valkey URL begins with valkey:// or valkeys://, not %q", u.Scheme)
	}
	if u.Hostname() == "" {
		return asynq.RedisClientOpt{}, fmt.Errorf("mail: Valkey URL without host")
	}
	if u.Port() == "" {
		o.Addr = net.JoinHostPort(u.Hostname(), "6379") // which writes IPv6 in brackets
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil {
			return asynq.RedisClientOpt{}, fmt.Errorf("mail: database %q of the Valkey URL is no number", db)
		}
	}
	return o, nil
}

// queueLog gives asynq's log lines to slog.
type queueLog struct{ log *slog.Logger }

func (l queueLog) write(level slog.Level, args []any) {
	l.log.Log(context.Background(), level, "mail queue: "+fmt.Sprint(args...))
}
func (l queueLog) Debug(args ...any) { l.write(slog.LevelDebug, args) }
func (l queueLog) Info(args ...any)  { l.write(slog.LevelInfo, args) }
func (l queueLog) Warn(args ...any)  { l.write(slog.LevelWarn, args) }
func (l queueLog) Error(args ...any) { l.write(slog.LevelError, args) }
func (l queueLog) Fatal(args ...any) { l.write(slog.LevelError, args) }

// LogTo has what is beneath asynq log there too, instead of to standard error. It
// is for main alone: one log serves the whole process, and is set before anything
// may write to it.
func LogTo(log *slog.Logger) { redis.SetLogger(beneathQueue{log}) }

// beneathQueue gives go-redis's log lines to slog.
type beneathQueue struct{ log *slog.Logger }

func (b beneathQueue) Printf(ctx context.Context, format string, args ...any) {
	b.log.WarnContext(ctx, "mail queue: "+fmt.Sprintf(format, args...))
}
