//go:build unix

package deploy_test

import (
	"slices"
	"strings"
	"testing"
)

// unit is what a file of systemd says, each line of it.
func unit(t *testing.T, name string) []string {
	t.Helper()
	return strings.Split(read(t, "systemd/"+name), "\n")
}

// TestUnitsComeBack holds the units to what is wanted of them after a power cut: this
// machine may be up minutes before that of the database, and nobody is there to start
// anything again. A wrong setting ends with exit code 2, which no trying mends.
func TestUnitsComeBack(t *testing.T) {
	for _, name := range []string{"gatehouse.service", "gatehouse-migrate.service", "gatehouse-worker.service"} {
		for _, line := range []string{"Restart=on-failure", "RestartPreventExitStatus=2", "StartLimitIntervalSec=0"} {
			if !slices.Contains(unit(t, name), line) {
				t.Errorf("%s gives up: there is no %s", name, line)
			}
		}
	}
	server := unit(t, "gatehouse.service")
	// A unit that requires one which failed to start is not started, and not tried again.
	if slices.Contains(server, "Requires=gatehouse-migrate.service") {
		t.Error("a migration that came too early leaves the server down")
	}
	for _, line := range []string{"Wants=gatehouse-migrate.service", "PartOf=gatehouse-migrate.service"} {
		if !slices.Contains(server, line) {
			t.Errorf("the server has no %s", line)
		}
	}
}
