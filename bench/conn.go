package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// patience is how long one answer may take, and one server to be ready.
const patience = 30 * time.Second

// A conn is one connection that is kept alive. It reads no more of HTTP/1.1 than
// it takes to measure servers of net/http, and makes next to nothing for a
// request: net/http's own client costs more than the server it would measure.
type conn struct {
	net.Conn
	in   *bufio.Reader
	out  []byte
	host string
	body bytes.Buffer
	head []string
}

func dial(addr, host string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 32<<10), host: host}, nil
}

// An answer is good until the next request of its connection.
type answer struct {
	status int
	// head are the lines of the header, as sent.
	head []string
	body []byte
}

// field returns the first value of a header field, "" for none.
func (a answer) field(name string) string {
	for _, line := range a.head {
		if k, v, _ := strings.Cut(line, ":"); strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// want returns an error unless the answer has that status.
func (a answer) want(status int) error {
	if a.status != status {
		return fmt.Errorf("answered %d, not %d: %.300s", a.status, status, a.body)
	}
	return nil
}

// get sends a GET with further header lines, each ended by CRLF.
func (c *conn) get(path, lines string) (answer, error) {
	c.out = append(c.out[:0], "GET "...)
	c.out = append(c.out, path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.host...)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, lines...)
	c.out = append(c.out, "\r\n"...)
	return c.do()
}

// post sends a form with further header lines.
func (c *conn) post(path, lines, form string) (answer, error) {
	c.out = append(c.out[:0], "POST "...)
	c.out = append(c.out, path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.host...)
	c.out = append(c.out, "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(form)), 10)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, lines...)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, form...)
	return c.do()
}

func (c *conn) do() (a answer, err error) {
	if _, err := c.Write(c.out); err != nil {
		return a, err
	}
	line, err := c.line()
	if err != nil {
		return a, err
	}
	if len(line) < 12 || line[:9] != "HTTP/1.1 " {
		return a, fmt.Errorf("not HTTP/1.1: %q", line)
	}
	if a.status, err = strconv.Atoi(line[9:12]); err != nil {
		return a, fmt.Errorf("no status: %q", line)
	}
	c.head = c.head[:0]
	for {
		if line, err = c.line(); err != nil {
			return a, err
		}
		if line == "" {
			break
		}
		c.head = append(c.head, line)
	}
	a.head = c.head
	c.body.Reset()
	switch length := a.field("Content-Length"); {
	case strings.EqualFold(a.field("Transfer-Encoding"), "chunked"):
		err = c.chunks()
	case length != "":
		var n int64
		if n, err = strconv.ParseInt(length, 10, 64); err == nil {
			_, err = io.CopyN(&c.body, c.in, n)
		}
	case a.status == 204 || a.status == 304:
	default:
		err = errors.New("the answer says no length")
	}
	if strings.EqualFold(a.field("Connection"), "close") && err == nil {
		err = errors.New("the server closes the connection")
	}
	a.body = c.body.Bytes()
	return a, err
}

// chunks reads a body of the chunked transfer coding (RFC 9112 section 7.1).
func (c *conn) chunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(line, 16, 64)
		if err != nil {
			return fmt.Errorf("not the size of a chunk: %q", line)
		}
		if _, err := io.CopyN(&c.body, c.in, n); err != nil {
			return err
		}
		if line, err = c.line(); err != nil || line != "" {
			return errors.Join(err, fmt.Errorf("after a chunk: %q", line))
		}
		if n == 0 {
			return nil
		}
	}
}

func (c *conn) line() (string, error) {
	b, err := c.in.ReadSlice('\n')
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), err
}
