//go:build unix

package docs_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A page is what its reader does, in order. What a comment of HTML says of the
// block below it, its reader does not see:
//
//	<!-- stays -->           the command goes on until the page ends, and prints the text below it
//	<!-- fails -->           the command fails, as the page says
//	<!-- from: FILE -->      the block is a part of that file of the repository
//	<!-- not run: REASON --> nobody runs it here
//	<!-- then: DEED -->      what a person does at this place; see deeds
//	<!-- needs: PROGRAM … --> what the whole page needs
//
// A block of sh without a comment is run, and must print what stands in the block
// of text below it, if there is one; an … there is any text.
type page struct {
	file  string
	needs []string
	steps []step
}

// A step is a block, or something that a person does.
type step struct {
	line int
	// lang is the block's language; empty for a deed.
	lang string
	text string
	// Of the comment above: its first word, and the rest.
	mark, rest string
	// prints is the block of text below a command; it has one if shows is true.
	prints string
	shows  bool
}

var comment = regexp.MustCompile(`^<!-- (?:(stays|fails)|(from|not run|then|needs): (.*)) -->$`)

// readPage reads a page. A block that is neither run, nor part of a file, nor
// excused is an error.
func readPage(t *testing.T, file string) page {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := page{file: file}
	var mark step // the comment that waits for its block
	lines := strings.Split(string(content), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if c := comment.FindStringSubmatch(line); c != nil {
			if mark.mark != "" {
				t.Fatalf("%s:%d: two comments for one block", file, i+1)
			}
			switch found := (step{line: i + 1, mark: c[1] + c[2], rest: c[3]}); found.mark {
			case "then":
				p.steps = append(p.steps, found)
			case "needs":
				p.needs = strings.Fields(found.rest)
			default:
				mark = found
			}
			continue
		}
		if strings.HasPrefix(line, "<!--") && !strings.Contains(line, "Printed from") {
			t.Errorf("%s:%d: nobody understands the comment %s", file, i+1, line)
		}
		if strings.HasPrefix(line, "    ") && (i == 0 || lines[i-1] == "") && mark.mark == "" {
			t.Errorf("%s:%d: an indented block is not run; fence it", file, i+1)
		}
		lang, fenced := strings.CutPrefix(line, "```")
		if !fenced {
			if mark.mark != "" && strings.TrimSpace(line) != "" {
				t.Errorf("%s:%d: there is no block below %q", file, i+1, mark.mark)
				mark = step{}
			}
			continue
		}
		s := step{line: i + 1, lang: lang, mark: mark.mark, rest: mark.rest}
		mark = step{}
		for i++; i < len(lines) && lines[i] != "```"; i++ {
			s.text += lines[i] + "\n"
		}
		switch {
		case s.mark == "not run" && s.rest == "", s.lang == "":
			t.Errorf("%s:%d: a block says which language it is, and why it is not run", file, s.line)
		case s.mark == "not run", s.lang == "sh" && s.mark != "from":
			p.steps = append(p.steps, s)
		case s.mark == "from":
			p.steps = append(p.steps, s)
		case s.lang == "text" && len(p.steps) > 0 && p.steps[len(p.steps)-1].lang == "sh" && !p.steps[len(p.steps)-1].shows:
			last := &p.steps[len(p.steps)-1]
			last.prints, last.shows = s.text, true
		case s.lang == "text": // what the last command that stays prints later
			p.steps = append(p.steps, s)
		default:
			t.Errorf("%s:%d: the block of %s is neither run nor from a file, and nothing says why", file, s.line, s.lang)
		}
	}
	for _, s := range p.steps {
		if s.mark == "stays" && !s.shows {
			t.Errorf("%s:%d: a command that stays has a block of text below it, by which one sees that it has started", file, s.line)
		}
	}
	return p
}

// printed is the pattern of what a page says is printed.
func printed(text string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(strings.TrimRight(text, "\n")), "…", `[^\n]+`)
}

// TestPrinted: what a page may leave out, and what not.
func TestPrinted(t *testing.T) {
	for _, tt := range []struct {
		sentence, page, out string
		same                bool
	}{
		{"the same is the same", "a\nb\n", "a\nb\n", true},
		{"dots are any text of a line", "id …\nend", "id 17\nend\n", true},
		{"dots are not a second line", "id …\nend", "id 17\nmore\nend\n", false},
		{"dots are not nothing", "id …", "id \n", false},
		{"more is more", "a", "a\nb\n", false},
		{"less is less", "a\nb", "a\n", false},
		{"a point is a point", "a.b", "axb\n", false},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			if got := prints(tt.page, tt.out); got != tt.same {
				t.Errorf("%q for %q: %v", tt.out, tt.page, got)
			}
		})
	}
}

// prints reports whether a command printed what the page says.
func prints(page, out string) bool {
	return regexp.MustCompile(`^` + printed(page) + `\n*$`).MatchString(out)
}

// TestParts compares every block that is from a file with the file.
func TestParts(t *testing.T) {
	n := 0
	for _, file := range runnable(t) {
		for _, s := range readPage(t, file).steps {
			if s.mark != "from" {
				continue
			}
			n++
			t.Run(fmt.Sprintf("%s:%d", file, s.line), func(t *testing.T) {
				content, err := os.ReadFile("../" + s.rest)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(content), s.text) {
					t.Errorf("the block is no part of %s", s.rest)
				}
			})
		}
	}
	if n < 8 {
		t.Errorf("%d blocks are from files", n)
	}
}
