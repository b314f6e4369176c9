//go:build unix

package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// keeper runs a server for as long as its standard input stays open, then
// stops it and removes its folder. The other end is held by the test binary
// alone and closes when that ends, whatever ends it.
const keeper = `
dir=$1
shift
exec 3<&0
"$@" 3<&- &
server=$!
(cat <&3 >/dev/null; kill -INT $server; sleep 2; kill -KILL $server) &
watch=$!
wait $server
: >"$dir/ended"
kill $watch
cat <&3 >/dev/null
rm -rf "$dir"
`

// launch starts a server under a keeper, logging to a file in dir.
func launch(dir string, command ...string) error {
	c := exec.Command("/bin/sh", append([]string{"-c", keeper, "sh", dir}, command...)...)
	if err := unprivileged(c, dir); err != nil {
		return err
	}
	// A group of its own: an interrupt at the terminal ends the tests, and the
	// keeper then ends the server.
	c.SysProcAttr.Setpgid = true
	// Not the binary's own output: go test waits for whoever holds that.
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer f.Close()
	c.Stdout, c.Stderr = f, f
	// The pipe is never closed by us. It has to stay reachable, or the garbage
	// collector closes it: the goroutine that waits for the keeper does that.
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("testenv: start a server: %w", err)
	}
	go func() {
		_ = c.Wait() // how it ended is in the log
		_ = in.Close()
	}()
	return nil
}

// workDir makes a folder that the server's user owns.
func workDir() (string, error) {
	dir, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		return "", err
	}
	return dir, own(dir)
}

func writeFile(name, content string) error {
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		return err
	}
	return own(name)
}

// own gives a file to the server's user.
func own(name string) error {
	c, err := serverUser()
	if err != nil || c == nil {
		return err
	}
	return os.Chown(name, int(c.Uid), int(c.Gid))
}

// unprivileged makes c run as the server's user, in dir, speaking English.
func unprivileged(c *exec.Cmd, dir string) error {
	user, err := serverUser()
	if err != nil {
		return err
	}
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	return nil
}

// serverUser is nil when we are not root: servers run as we do. PostgreSQL
// refuses to run as root, so root hands it to postgres or nobody.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}
