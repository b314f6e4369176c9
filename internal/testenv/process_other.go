//go:build !unix

package testenv

import "os/exec"

// Private servers need a unix: elsewhere a container or an address is needed.

func launch(string, ...string) error       { return errMissing }
func workDir() (string, error)             { return "", errMissing }
func writeFile(string, string) error       { return errMissing }
func unprivileged(*exec.Cmd, string) error { return errMissing }
