package main

import (
	"context"
	"flag"
	"io"
	"runtime"
	"runtime/debug"
)

// A release is what is known of this binary.
type release struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	// Modified says that the sources differed from the revision.
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// version and revision are what the linker is told of a release (-X main.version),
// which is built without git around it. Empty: Go knows.
var version, revision string

func thisRelease() release {
	b := release{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b.told()
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b.told()
}

// told is b with what the linker was told.
func (b release) told() release {
	if version != "" {
		b.Version = version
	}
	if revision != "" {
		b.Revision, b.Modified = revision, false
	}
	return b
}

func versionCommand() command {
	return command{
		name:    "version",
		about:   "Tell which gatehouse this is",
		example: "gatehouse version",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(_ context.Context, t terminal, _ []string) error {
				b := thisRelease()
				return t.show(*asJSON, b, func(w io.Writer) {
					say(w, "gatehouse %s", b.Version)
					if b.Revision != "" {
						say(w, " (%s", b.Revision)
						if b.Modified {
							say(w, ", modified")
						}
						say(w, ")")
					}
					say(w, " %s %s\n", b.Go, b.Platform)
				})
			}
		},
	}
}
