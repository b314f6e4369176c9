//go:build unix

package docs_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
)

// written are all pages for people, by their path from here.
func written(t *testing.T) (pages []string) {
	t.Helper()
	for _, pattern := range []string{"../*.md", "*.md", "*/*.md", "../deploy/*.md", "../deploy/*/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) < 20 {
		t.Fatalf("there are %d pages", len(pages))
	}
	return pages
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchors are where links into a page lead, as GitHub makes them of headings.
func anchors(content string) (ids []string) {
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(content, ""), -1) {
		ids = append(ids, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, h[1]))
	}
	return ids
}

// TestLinks: every link of every page leads to a file and a heading that are
// there. Addresses of other sites are read, and not visited.
func TestLinks(t *testing.T) {
	n := 0
	for _, file := range written(t) {
		content := read(t, file)
		for _, found := range link.FindAllStringSubmatch(fence.ReplaceAllString(content, ""), -1) {
			n++
			to, err := url.Parse(found[1])
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if to.Scheme != "" {
				if to.Scheme != "https" && to.Scheme != "mailto" || to.Scheme == "https" && to.Host == "" {
					t.Errorf("%s: the link %s is neither to a page nor to a file", file, found[1])
				}
				continue
			}
			target := file
			if to.Path != "" {
				target = filepath.Join(filepath.Dir(file), to.Path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere", file, found[1])
				continue
			}
			if to.Fragment != "" && strings.HasSuffix(target, ".md") && !slices.Contains(anchors(read(t, target)), to.Fragment) {
				t.Errorf("%s: the link %s leads to no heading", file, found[1])
			}
		}
	}
	if n < 100 {
		t.Errorf("there are %d links", n)
	}
}

// help is what the programs print of themselves: everything, by the command.
var help = sync.OnceValues(func() (map[string]string, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	ask := func(args ...string) (string, error) {
		out, err := exec.Command(filepath.Join(bin, args[0]), args[1:]...).CombinedOutput()
		return string(out), err
	}
	top, err := ask("gatehouse", "-h")
	if err != nil {
		return nil, err
	}
	for _, m := range regexp.MustCompile(`(?m)^  gatehouse ([a-z-]+(?: [a-z-]+)*)  `).FindAllStringSubmatch(top, -1) {
		if all[m[1]], err = ask(append(append([]string{"gatehouse"}, strings.Fields(m[1])...), "-h")...); err != nil {
			return nil, err
		}
	}
	all["gatehouse-worker"], err = ask("gatehouse-worker", "-h")
	return all, err
})

var (
	key     = regexp.MustCompile(`\bGATEHOUSE_[A-Z0-9_]*[A-Z0-9]`)
	typed   = regexp.MustCompile(`(?:^|[\s/])gatehouse ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?([^|\n]*)`)
	option  = regexp.MustCompile(`(?:^|\s)--([a-z-]+)`)
	shell   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	inline  = regexp.MustCompile("`([^`]+)`")
	example = regexp.MustCompile(`(?m)^ {4,}(.*)$`)
)

// TestNames: every key of the configuration that a page names, every command and
// every flag of one, is in the help of the programs.
func TestNames(t *testing.T) {
	commands, err := help()
	if err != nil {
		t.Fatal(err)
	}
	helps := commands["serve"] + commands["gatehouse-worker"]
	if len(commands) < 20 || !strings.Contains(helps, "GATEHOUSE_URL") {
		t.Fatalf("the help is\n%v", commands)
	}
	keys, types, flags := 0, 0, 0
	for _, file := range written(t) {
		content := read(t, file)
		for _, k := range key.FindAllString(content, -1) {
			keys++
			// The tests have keys of their own, and so has Compose.
			if other := strings.HasPrefix(k, "GATEHOUSE_TEST_") || k == "GATEHOUSE_PROFILE" || k == "GATEHOUSE_VERSION"; !other &&
				!regexp.MustCompile(`\b`+strings.TrimSuffix(k, "_FILE")).MatchString(helps) {
				t.Errorf("%s: %s is no key of the configuration", file, k)
			}
		}
		var texts []string
		for _, m := range shell.FindAllStringSubmatch(content, -1) {
			texts = append(texts, strings.ReplaceAll(m[1], "\\\n", " "))
		}
		prose := fence.ReplaceAllString(content, "")
		for _, m := range inline.FindAllStringSubmatch(prose, -1) {
			texts = append(texts, strings.ReplaceAll(m[1], "\n", " "))
		}
		for _, m := range example.FindAllStringSubmatch(prose, -1) {
			texts = append(texts, m[1])
		}
		for _, text := range texts {
			for _, m := range typed.FindAllStringSubmatch(text, -1) {
				name := m[1] + " " + m[2]
				if commands[name] == "" {
					name = m[1]
				}
				if types++; commands[name] == "" && !groupOf(commands, m[1], m[2]) {
					t.Errorf("%s: there is no command %q", file, "gatehouse "+strings.TrimSpace(m[1]+" "+m[2]))
				}
				for _, f := range option.FindAllStringSubmatch(m[3], -1) {
					if flags++; !strings.Contains(commands[name], "\n  --"+f[1]) {
						t.Errorf("%s: gatehouse %s has no flag --%s", file, name, f[1])
					}
				}
			}
		}
	}
	if keys < 50 || types < 40 || flags < 20 {
		t.Errorf("there are %d keys, %d commands and %d flags", keys, types, flags)
	}
}

// groupOf reports whether commands begin with the word, and nothing was said of
// which.
func groupOf(commands map[string]string, word, next string) bool {
	if next != "" {
		return false
	}
	for name := range commands {
		if strings.HasPrefix(name, word+" ") {
			return true
		}
	}
	return false
}
