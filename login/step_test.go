package login

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

var update = flag.Bool("update", false, "write testdata/flow.mermaid")

var (
	purposes = []Purpose{ToRegister, ToSignIn, ToReset}
	people   = []struct {
		are  string
		user storage.User
	}{
		{"mailbox not proved", storage.User{}},
		{"mailbox proved", storage.User{EmailVerifiedAt: time.Unix(1, 0)}},
		{"two-step sign-in on", storage.User{EmailVerifiedAt: time.Unix(1, 0), SecondFactor: true}},
	}
)

func TestNext(t *testing.T) {
	unproved, proved, twoStep := people[0].user, people[1].user, people[2].user
	unprovedTwoStep := storage.User{SecondFactor: true} // an operator may make one
	tests := []struct {
		about  string
		why    Purpose
		user   storage.User
		proven Proofs
		want   Step
	}{
		{"somebody new proves the mailbox first", ToRegister, unproved, nil, VerifyEmail},
		{"and is done with it", ToRegister, unproved, Proofs{VerifyEmail}, Done},
		{"signing in to an unproved account proves the mailbox first", ToSignIn, unproved, nil, VerifyEmail},
		{"and is done with it", ToSignIn, unproved, Proofs{VerifyEmail}, Done},
		{"signing in to a proved account asks nothing more", ToSignIn, proved, nil, Done},
		{"sec-K8: with two-step sign-in it asks for the second factor", ToSignIn, twoStep, nil, SecondFactor},
		{"and is done with it", ToSignIn, twoStep, Proofs{SecondFactor}, Done},
		{"the mailbox comes before the second factor", ToSignIn, unprovedTwoStep, nil, VerifyEmail},
		{"sec-K8: a proof of the mailbox does not stand for the second factor", ToSignIn, unprovedTwoStep, Proofs{VerifyEmail}, SecondFactor},
		{"sec-K8: a registration that meets a second factor asks for it too", ToRegister, twoStep, Proofs{VerifyEmail}, SecondFactor},
		{"seed-C4: a reset begins with its code", ToReset, proved, nil, ConfirmReset},
		{"seed-C4: also for a mailbox that was never proved", ToReset, unproved, nil, ConfirmReset},
		{"a reset's code asks for the new password", ToReset, proved, Proofs{VerifyEmail, ConfirmReset}, NewPassword},
		{"seed-A3: also for a mailbox that was never proved, before anything else", ToReset, unproved, Proofs{VerifyEmail, ConfirmReset}, NewPassword},
		{"the new password is the end of it", ToReset, proved, Proofs{VerifyEmail, ConfirmReset, NewPassword}, Done},
		{"a reset asks for no second factor", ToReset, twoStep, Proofs{VerifyEmail, ConfirmReset, NewPassword}, Done},
		{"no proof of a sign-in stands for the code of a reset", ToReset, proved, Proofs{VerifyEmail, SecondFactor}, ConfirmReset},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			if got := next(tt.why, tt.user, tt.proven); got != tt.want {
				t.Errorf("next = %s, want %s", got, tt.want)
			}
		})
	}
}

// TestDiagram draws every way that next leads.
func TestDiagram(t *testing.T) {
	var edges []string
	for _, why := range purposes {
		for _, person := range people {
			if why == ToRegister && person.user.EmailVerified() {
				continue // a decoy, which leads nowhere
			}
			from, proven := string(why), Proofs(nil)
			for step := Step(""); step != Done; {
				step = next(why, person.user, proven)
				if proven.Has(step) {
					t.Fatalf("%s, %s: %s is asked twice", why, person.are, step)
				}
				label := ""
				if len(proven) == 0 && why != ToReset { // which is one way for all
					label = ": " + person.are
				}
				if why == ToReset && step == Done {
					label = ": signs nobody in"
				}
				edge := fmt.Sprintf("    %s --> %s%s\n", from, step, label)
				if !slices.Contains(edges, edge) {
					edges = append(edges, edge)
				}
				if step == ConfirmReset {
					proven = append(proven, VerifyEmail) // by the same code
				}
				from, proven = string(step), append(proven, step)
			}
		}
	}
	var b strings.Builder
	b.WriteString("%% Drawn from next in step.go by go test ./login -update. Do not edit.\nstateDiagram-v2\n")
	for _, why := range purposes {
		fmt.Fprintf(&b, "    [*] --> %s\n", why)
	}
	b.WriteString(strings.Join(edges, ""))
	fmt.Fprintf(&b, "    %s --> [*]\n", Done)

	// docs/sign-in.md shows the same.
	page := regexp.MustCompile("(?s)```mermaid\n.*?```")
	const docs = "../docs/sign-in.md"
	prose, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	shown := page.ReplaceAllLiteralString(string(prose), "```mermaid\n"+b.String()+"```")
	for file, want := range map[string]string{"testdata/flow.mermaid": b.String(), docs: shown} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is out of date; run go test ./login -update. It should be:\n%s", file, want)
		}
	}
	if !strings.Contains(shown, b.String()) {
		t.Errorf("%s has no block for the diagram", docs)
	}
}
