package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// certificateEvery is how often the files of a certificate are looked at.
const certificateEvery = 10 * time.Second

// A keyPair is a certificate with its key, in PEM, under the keys of the
// environment that they came from.
type keyPair struct {
	// name is GATEHOUSE_TLS or GATEHOUSE_GRPC_TLS.
	name string
	cert string
	key  Secret
	// certFile and keyFile are where they were read, empty for the environment
	// itself.
	certFile, keyFile string
	// host is who the certificate must be for; empty is anybody.
	host string
}

// tlsPair is what HTTP is encrypted by. Behind a proxy the certificate is the
// proxy's to judge, and need not be for the host that browsers know.
func (c *Config) tlsPair() keyPair {
	p := keyPair{name: "GATEHOUSE_TLS", cert: c.TLSCert, key: c.TLSKey, certFile: c.files["GATEHOUSE_TLS_CERT"], keyFile: c.files["GATEHOUSE_TLS_KEY"]}
	if u, err := url.Parse(c.URL); err == nil && len(c.TrustedProxies) == 0 {
		p.host = u.Hostname()
	}
	return p
}

// grpcPair is what gRPC is encrypted by.
func (c *Config) grpcPair() keyPair {
	return keyPair{name: "GATEHOUSE_GRPC_TLS", cert: c.GRPCCert, key: c.GRPCKey, certFile: c.files["GATEHOUSE_GRPC_TLS_CERT"], keyFile: c.files["GATEHOUSE_GRPC_TLS_KEY"]}
}

// contradictionsOfTLS are those of the keys of HTTP over TLS.
func (c *Config) contradictionsOfTLS() error {
	switch p := c.tlsPair(); {
	case p.cert == "" && p.key == "":
		return nil
	case p.cert == "" || p.key == "":
		return errors.New("GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY go together; set both or neither")
	case !c.secureURL():
		return fmt.Errorf("GATEHOUSE_URL is %s, and with GATEHOUSE_TLS_CERT this server speaks https alone; write https, or unset GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY", c.URL)
	default:
		_, err := p.parse(time.Now())
		return err
	}
}

// secureURL reports whether browsers find the server by https.
func (c *Config) secureURL() bool {
	u, err := url.Parse(c.URL)
	return err == nil && u.Scheme == "https"
}

// parse returns the pair, unless nobody could use it at that time. Its error is
// a sentence, which repeats nothing of the key.
func (p keyPair) parse(now time.Time) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
	if err != nil {
		return nil, p.useless()
	}
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("%s_CERT expired at %s; renew it", p.name, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("%s_CERT is good only from %s on; wait, or set this machine's clock right", p.name, leaf.NotBefore.UTC().Format(time.RFC3339))
	case p.host != "" && leaf.VerifyHostname(p.host) != nil:
		return nil, fmt.Errorf("%s_CERT is not for %s, the host of GATEHOUSE_URL, but for %s; get one that is, or name the proxy in front in GATEHOUSE_TRUSTED_PROXIES", p.name, p.host, names(leaf))
	}
	return &pair, nil
}

// useless says which of the two is to be mended when they are no pair: the error of
// crypto/tls may repeat what it was given.
func (p keyPair) useless() error {
	switch cert, key := isCertificate(p.cert), isPrivateKey(string(p.key)); {
	case cert && key:
		return fmt.Errorf("%[1]s_KEY is not the key of the first certificate in %[1]s_CERT, which must be this server's own; set the two that were made together", p.name)
	case key:
		return fmt.Errorf("%s_CERT must be a certificate in PEM; %s", p.name, whereFrom(p.name+"_CERT", p.certFile))
	case cert:
		return fmt.Errorf("%s_KEY must be a private key in PEM, without a password; %s", p.name, whereFrom(p.name+"_KEY", p.keyFile))
	default:
		return fmt.Errorf("%[1]s_CERT and %[1]s_KEY must be a certificate and its private key in PEM; the paths of files go into %[1]s_CERT_FILE and %[1]s_KEY_FILE", p.name)
	}
}

// whereFrom says where the value of a key was read, or how it would be from a file.
func whereFrom(key, path string) string {
	if path == "" {
		return "the path of a file goes into " + key + "_FILE"
	}
	return "it was read from " + path + ", the file that " + key + "_FILE names"
}

// isCertificate reports whether crypto/tls can read a certificate in the text.
func isCertificate(text string) bool {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			_, err := x509.ParseCertificate(block.Bytes)
			return err == nil
		}
	}
	return false
}

// isPrivateKey reports whether crypto/tls can read a private key in the text.
func isPrivateKey(text string) bool {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY") {
			_, pkcs8 := x509.ParsePKCS8PrivateKey(block.Bytes)
			_, pkcs1 := x509.ParsePKCS1PrivateKey(block.Bytes)
			_, sec1 := x509.ParseECPrivateKey(block.Bytes)
			return pkcs8 == nil || pkcs1 == nil || sec1 == nil
		}
	}
	return false
}

// names are whom a certificate is for.
func names(c *x509.Certificate) string {
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "nobody"
	}
	return plain(fmt.Sprintf("%q", all))
}

// checkAccess refuses a key file that others may write, and says in a sentence
// when others may read it.
func (p keyPair) checkAccess() (warning string, err error) {
	if p.keyFile == "" {
		return "", nil
	}
	info, err := os.Stat(p.keyFile)
	if err != nil {
		return "", fmt.Errorf("%s_KEY_FILE: %w", p.name, err)
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0:
		return "", usagef("every user of this machine may write %s, the file that %s_KEY_FILE names; take that away: chmod 640", p.keyFile, p.name)
	case mode&0o004 != 0:
		return fmt.Sprintf("every user of this machine may read %s, the file that %s_KEY_FILE names; take that away: chmod 640", p.keyFile, p.name), nil
	}
	return "", nil
}

// A certificate is what a listener shows to whoever connects: the pair of two
// files as they are now, when they make one, and else the last that did.
type certificate struct {
	log     *slog.Logger
	every   time.Duration
	current atomic.Pointer[tls.Certificate]
	// pair is that of current. Only the watching goroutine reads and writes it.
	pair keyPair
	odd  oddity[keyPair]
	// clients are those who may connect; nil is everybody.
	clients *authorities
}

// authorities are certificates, one of which must have signed that of a client: those
// of a file as it is now, when it holds some, and else the last that it held.
type authorities struct {
	// name is the key of the environment that they came from, file where they were
	// read, empty for the environment itself.
	name, file string
	current    atomic.Pointer[x509.CertPool]
	// pem is that of current, as pair is of a certificate.
	pem string
	odd oddity[string]
}

// An oddity is what files hold that is of no use, and how often in a row it was found.
type oddity[F comparable] struct {
	held  F
	times int
}

// tell reports whether to tell of what was found: once, when it is found a second
// time, because whoever replaces files is in between for a moment.
func (o *oddity[F]) tell(held F) bool {
	if o.held != held {
		o.times = 0
	}
	o.held = held
	o.times++
	return o.times == 2
}

// openCertificate returns the pair, which can be used now.
func openCertificate(p keyPair, log *slog.Logger) (*certificate, error) {
	warning, err := p.checkAccess()
	if err != nil {
		return nil, err
	}
	now, err := p.parse(time.Now())
	if err != nil {
		return nil, usageError{err}
	}
	if warning != "" {
		log.Warn(warning)
	}
	c := &certificate{log: log, every: certificateEvery, pair: p}
	c.current.Store(now)
	return c, nil
}

// openAuthorities returns those that the text holds.
func openAuthorities(name, text, file string) (*authorities, error) {
	a := &authorities{name: name, file: file, pem: text}
	roots, err := a.parse(text)
	if err != nil {
		return nil, usageError{err}
	}
	a.current.Store(roots)
	return a, nil
}

// parse returns the certificates in the text. Its error is a sentence.
func (a *authorities) parse(text string) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(text)) {
		return nil, fmt.Errorf("%s must be certificates in PEM; %s", a.name, whereFrom(a.name, a.file))
	}
	return roots, nil
}

// config is TLS as this listener speaks it: what Go takes for safe, from version
// 1.2 (RFC 9325 section 3.1.1).
func (c *certificate) config() *tls.Config {
	t := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
	if c.clients == nil {
		return t
	}
	t.ClientAuth, t.ClientCAs = tls.RequireAndVerifyClientCert, c.clients.current.Load()
	first := t.Clone()
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := first.Clone()
		now.ClientCAs = c.clients.current.Load()
		return now, nil
	}
	return t
}

// watch follows the files until ctx ends. Connections that there are go on.
func (c *certificate) watch(ctx context.Context) error {
	if c.pair.certFile == "" && c.pair.keyFile == "" && (c.clients == nil || c.clients.file == "") {
		return nil
	}
	t := time.NewTicker(c.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			c.look(ctx)
			if c.clients != nil {
				c.clients.look(ctx, c.log)
			}
		}
	}
}

// look reads the files and takes over a new pair.
func (c *certificate) look(ctx context.Context) {
	next := c.pair
	err := errors.Join(reread(&next.cert, next.certFile), reread((*string)(&next.key), next.keyFile))
	if err == nil && next == c.pair {
		c.odd = oddity[keyPair]{}
		return
	}
	var fresh *tls.Certificate
	if err == nil {
		fresh, err = next.parse(time.Now())
	}
	switch {
	case err == nil:
		c.current.Store(fresh)
		c.pair, c.odd = next, oddity[keyPair]{}
		c.log.InfoContext(ctx, "a new certificate is served", "key", c.pair.name+"_CERT", "expires", fresh.Leaf.NotAfter.UTC())
	case c.odd.tell(next):
		c.log.WarnContext(ctx, "the certificate of before is still served, because the new one is of no use", "key", c.pair.name+"_CERT", "expires", c.current.Load().Leaf.NotAfter.UTC(), "err", err)
	}
}

// look reads the file and takes over what it holds now.
func (a *authorities) look(ctx context.Context, log *slog.Logger) {
	next := a.pem
	err := reread(&next, a.file)
	if err == nil && next == a.pem {
		a.odd = oddity[string]{}
		return
	}
	var fresh *x509.CertPool
	if err == nil {
		fresh, err = a.parse(next)
	}
	switch {
	case err == nil:
		a.current.Store(fresh)
		a.pem, a.odd = next, oddity[string]{}
		log.InfoContext(ctx, "clients are believed by new certificates", "key", a.name)
	case a.odd.tell(next):
		log.WarnContext(ctx, "clients are still believed by the certificates of before, because the new ones are of no use", "key", a.name, "err", err)
	}
}

// reread replaces what was read from a file, if it was.
func reread(s *string, path string) error {
	if path == "" {
		return nil
	}
	f, err := os.ReadFile(path)
	if err != nil {
		// A mark that is no file's content: see look.
		*s = "unreadable"
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = fmt.Errorf("read %s: %w", path, e.Err)
		}
		return err
	}
	*s = string(bytes.TrimSpace(f))
	return nil
}
