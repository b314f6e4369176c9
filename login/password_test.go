package login

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

func TestNewPasswords(t *testing.T) {
	tests := []struct {
		about, password string
		want            Reason
	}{
		{"some words", "river lantern mosaic", ""},
		{"sec-J2: words of any script", "नदी लालटेन पहाड़ बादल", ""},
		{"sec-J2: spaces around count", "  river 12  ", ""},
		{"sec-J2: no composition is asked", "qpwmvxtzkrbd", ""},
		{"nothing", "", PasswordMissing},
		{"eleven characters", "lantern riv", PasswordTooShort},
		{"twelve characters", "lantern rive", ""},
		{"eleven characters of three bytes", strings.Repeat("न", 6) + "लपमयर", PasswordTooShort},
		{"twelve that become eleven", "lantern ri" + "e\u0301", PasswordTooShort},
		{"128 characters", strings.Repeat("lantern-river-12", 8), ""},
		{"129 characters", strings.Repeat("x", 129), PasswordTooLong},
		{"sec-J3: of the list", "passwordpassword", PasswordCommon},
		{"sec-J3: of the list, in capitals", "PasswordPassword", PasswordCommon},
		{"sec-J3: of the list, digits", "123456789012", PasswordCommon},
		{"sec-J3: of the list, the first line", "012345678901", PasswordCommon},
		{"sec-J3: a common word with digits after it", "Welcome20261!", PasswordCommon},
		{"sec-J3: a common word with digits around it", "!!!password123", PasswordCommon},
		{"sec-J3: a common word over and over", "dragondragondragon", PasswordCommon},
		{"sec-J3: and digits", "MonkeyMonkey99", PasswordCommon},
		{"sec-J3: one character", "zzzzzzzzzzzzzzzz", PasswordCommon},
		{"sec-J3: four characters over and over", "x7k2x7k2x7k2", PasswordCommon},
		{"a common word in a sentence", "a dragon ate my homework", ""},
		{"sec-J3: the name", "hello asha rai!!", PasswordPersonal},
		{"sec-J3: the name written as one", "iam_AshaRai_2026", PasswordPersonal},
		{"sec-J3: a word of the name", "lovely asha 2026", PasswordPersonal},
		{"a word of the name too short to count", "a rainy afternoon", ""},
		{"sec-J3: the local part", "xx-a.rai-tidepool-xx", ""},
		{"sec-J3: the local part as it is", "xx-rai.asha77-xx", PasswordPersonal},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			if got := checkNewPassword(tt.password, "Asha Rai", "rai.asha77@example.com"); got != tt.want {
				t.Errorf("checkNewPassword(%q) = %q, want %q", tt.password, got, tt.want)
			}
		})
	}
}

func TestCommonList(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(commonText, "\n"), "\n")[1:]
	long := 0
	for _, l := range lines {
		if l != strings.ToLower(norm.NFKC.String(l)) || strings.TrimSpace(l) != l || len(l) < 4 {
			t.Errorf("line %q can never match", l)
		}
		if len([]rune(l)) >= MinPassword {
			long++
		}
	}
	if !slices.IsSorted(lines) || len(slices.Compact(slices.Clone(lines))) != len(lines) {
		t.Error("the list is not sorted, or says something twice")
	}
	if long < 300 {
		t.Errorf("only %d lines are as long as a password", long)
	}
}

func TestServiceName(t *testing.T) {
	h := &hasher{service: "Meridian ID"}
	for password, want := range map[string]Reason{
		"MeridianID2026":            PasswordCommon,
		"meridian-id-meridian-id!":  PasswordCommon,
		"ＭＥＲＩＤＩＡＮ ＩＤ １２３":           PasswordCommon,
		"meridian of my idle hours": "",
		"four random words here":    "",
	} {
		if got := h.policy(password, "Asha Gurung", ashaEmail); got != want {
			t.Errorf("sec-J3: %q is %q, want %q", password, got, want)
		}
	}
}

func TestHashes(t *testing.T) {
	made := argonHash(ashaPassword)
	if !strings.HasPrefix(made, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q", made)
	}
	if made == argonHash(ashaPassword) {
		t.Error("two hashes share a salt")
	}
	old, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("a", 72)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	composed := argonHash("caf\u00e9 lantern mosaic")
	tests := []struct {
		about, hash, password string
		right, fault          bool
	}{
		{"the password", made, ashaPassword, true, false},
		{"another", made, evePassword, false, false},
		{"sec-J2: written with another form of é", composed, "cafe\u0301 lantern mosaic", true, false},
		{"sec-J2: the 73rd byte matters", argonHash(strings.Repeat("x", 73)), strings.Repeat("x", 72), false, false},
		{"other parameters", "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$" + "gyhJl7c4TS1B5OdyaSbwV1E6/r8vQDU8W9CXTUQsuJo", "nothing we know", false, false},
		{"bcrypt", string(old), strings.Repeat("a", 72), true, false},
		{"seed-E1: bcrypt and more than it reads", string(old), strings.Repeat("a", 73), false, false},
		{"a hash of another kind", "$scrypt$x$y$z$w", ashaPassword, false, true},
		{"no hash", "plain text", ashaPassword, false, true},
		{"a hash cut off", made[:40], ashaPassword, false, true},
		{"bcrypt cut off", "$2a$10$abc", ashaPassword, false, true},
		{"no rounds", "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$gyhJl7c4TS1B5OdyaSbwV1E6", ashaPassword, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			right, err := matches(tt.hash, tt.password)
			if right != tt.right || (err != nil) != tt.fault {
				t.Errorf("matches = %v, %v", right, err)
			}
		})
	}
}

func TestDecoy(t *testing.T) {
	for _, useBcrypt := range []bool{false, true} {
		h, err := newHasher(0, useBcrypt, nil)
		if err != nil {
			t.Fatal(err)
		}
		other, err := newHasher(0, useBcrypt, nil)
		if err != nil {
			t.Fatal(err)
		}
		if h.decoy == other.decoy {
			t.Errorf("two servers have the decoy %q", h.decoy)
		}
		made, err := h.create("river lantern mosaic")
		if err != nil {
			t.Fatal(err)
		}
		if len(h.decoy) != len(made) || h.outdated(h.decoy, "") {
			t.Errorf("the decoy %q is not of the kind and cost of %q", h.decoy, made)
		}
		if same, err := matches(h.decoy, "river lantern mosaic"); same || err != nil {
			t.Errorf("the decoy %q: %v, %v", h.decoy, same, err)
		}
	}
}

func TestHashPassword(t *testing.T) {
	hash, err := HashPassword(ashaPassword)
	if err != nil {
		t.Fatal(err)
	}
	if right, err := matches(hash, ashaPassword); !right || err != nil {
		t.Errorf("matches = %v, %v", right, err)
	}
	if _, err := HashPassword("passwordpassword"); err == nil {
		t.Error("a common password was hashed")
	}
}

func TestEmails(t *testing.T) {
	tests := []struct {
		about, typed, want string
		reason             Reason
	}{
		{"plain", "asha@example.com", "asha@example.com", ""},
		{"the domain in lower case, the rest as typed", " Asha.Rai+id@Example.COM ", "Asha.Rai+id@example.com", ""},
		{"full width", "ａｓｈａ＠example．com", "asha@example.com", ""},
		{"a domain in Punycode", "asha@xn--bcher-kva.example", "asha@xn--bcher-kva.example", ""},
		{"254 bytes", strings.Repeat("a", 64) + "@" + strings.Repeat("b", 62) + "." + strings.Repeat("c", 62) + "." + strings.Repeat("d", 63), strings.Repeat("a", 64) + "@" + strings.Repeat("b", 62) + "." + strings.Repeat("c", 62) + "." + strings.Repeat("d", 63), ""},
		{"255 bytes", strings.Repeat("a", 64) + "@" + strings.Repeat("b", 62) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 63), "", EmailMalformed},
		{"a long local part", strings.Repeat("a", 65) + "@example.com", "", EmailMalformed},
		{"nothing", " ", "", EmailMissing},
		{"no @", "asha", "", EmailMalformed},
		{"two @", "asha@rai@example.com", "", EmailMalformed},
		{"no local part", "@example.com", "", EmailMalformed},
		{"no domain", "asha@", "", EmailMalformed},
		{"a domain of one label", "asha@localhost", "", EmailMalformed},
		{"a domain of another script", "asha@bücher.example", "", EmailMalformed},
		{"an address in place of a domain", "asha@[127.0.0.1]", "", EmailMalformed},
		{"a domain with a hyphen at its end", "asha@example-.com", "", EmailMalformed},
		{"two dots", "asha..rai@example.com", "", EmailMalformed},
		{"a display name", "Asha <asha@example.com>", "", EmailMalformed},
		{"a comment", "asha(x)@example.com", "", EmailMalformed},
		{"a quoted local part", `"asha rai"@example.com`, "", EmailMalformed},
		{"a space", "asha rai@example.com", "", EmailMalformed},
		{"two addresses", "asha@example.com,eve@example.com", "", EmailMalformed},
		{"sec-L5: a second line", "asha@example.com\r\nBcc: all@example.com", "", EmailMalformed},
		{"sec-L5: a second line in the local part", "asha\r\n@example.com", "", EmailMalformed},
		{"a zero byte", "asha\x00@example.com", "", EmailMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			got, reason := parseEmail(tt.typed)
			if got != tt.want || reason != tt.reason {
				t.Errorf("parseEmail(%q) = %q, %q; want %q, %q", tt.typed, got, reason, tt.want, tt.reason)
			}
		})
	}
}

// TestListed: the list is searched as what it has to be, which is sorted.
func TestListed(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(commonText, "\n"), "\n")[1:]
	if !slices.IsSorted(lines) {
		t.Error("common.txt is not sorted by its bytes")
	}
	for _, line := range lines {
		if !listed(line) || listed(line+"\x00") || listed("\n"+line) {
			t.Errorf("%q is not found as the one line that it is", line)
		}
	}
	if listed("") || listed("!") || listed("~~~~") {
		t.Error("what is not listed is found")
	}
}
