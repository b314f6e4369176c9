package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// codesLife is how long new recovery codes can be read again.
const codesLife = 30 * time.Minute

// sealedCodes is the name under which a flow holds its recovery codes.
const sealedCodes = "codes"

// recoveryCodes are codes that were just made.
type recoveryCodes struct {
	Codes  []string
	MadeAt time.Time
	// First says that they came with two-step sign-in, and replace none.
	First bool
}

// codesCookie holds the key of the recovery codes that wait in a flow. The key
// is nowhere else: whoever reads the storage reads no code, and with the cookie
// the codes are gone. That it goes also makes browsers forget the page that they
// keep for the way back.
//
// The pages that lead to new codes set it, and not the answer that has them: one
// that is lost on its way must not lose the codes.
const codesCookie = "gatehouse_codes"

// codesKey returns what is in the browser's cookie, or a new key.
func (s *Web) codesKey(v *visit) []byte {
	key := make([]byte, 32)
	if c, err := v.r.Cookie(s.provider.CookieName(codesCookie)); err == nil {
		if sent, err := base64.RawURLEncoding.DecodeString(c.Value); err == nil && len(sent) == len(key) {
			return sent
		}
	}
	rand.Read(key) // never fails
	return key
}

func (s *Web) setCodesKey(v *visit, key []byte) {
	s.provider.SetCookie(v.w, codesCookie, base64.RawURLEncoding.EncodeToString(key), codesLife)
}

// codesCipher returns the cipher of that key.
func codesCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("web: cipher of recovery codes: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("web: cipher of recovery codes: %w", err)
	}
	return aead, nil
}

// codesOwner is what sealed codes are bound to: no other flow has them, and
// nobody else.
func codesOwner(v *visit) []byte { return []byte(v.flow.ID + " " + v.user.ID) }

// keepCodes puts new recovery codes into the flow, where this person can read
// them again with this browser, and goes on to their page.
func (s *Web) keepCodes(v *visit, codes []string, first bool) error {
	now := s.now().UTC()
	text, err := json.Marshal(recoveryCodes{Codes: codes, MadeAt: now, First: first})
	if err != nil {
		return fmt.Errorf("web: encode recovery codes: %w", err)
	}
	key := s.codesKey(v)
	aead, err := codesCipher(key)
	if err != nil {
		return err
	}
	typed := map[string]string{sealedCodes: base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, text, codesOwner(v)))}
	if id := v.flow.Typed[afterwards]; id != "" {
		typed[afterwards] = id
	}
	v.flow.Typed = typed
	v.flow.ExpiresAt = now.Add(codesLife)
	s.setCodesKey(v, key)
	return s.move(v, "recovery-codes", "")
}

// keptCodes returns the recovery codes that wait in the flow for this person, or
// reports that none do.
func (s *Web) keptCodes(v *visit) (codes recoveryCodes, ok bool, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(v.flow.Typed[sealedCodes])
	if err != nil {
		return recoveryCodes{}, false, fmt.Errorf("web: decode sealed recovery codes: %w", err)
	}
	aead, err := codesCipher(s.codesKey(v))
	if err != nil {
		return recoveryCodes{}, false, err
	}
	text, err := aead.Open(nil, nil, sealed, codesOwner(v))
	if err != nil { // there are none, or this is another person or browser
		return recoveryCodes{}, false, nil
	}
	if err := json.Unmarshal(text, &codes); err != nil {
		return recoveryCodes{}, false, fmt.Errorf("web: decode recovery codes: %w", err)
	}
	return codes, true, nil
}

// refusedCodes is refused for the forms that make codes. Who sent one twice, by
// a second click or because the first answer was lost, gets what the first made.
func (s *Web) refusedCodes(v *visit, page string, refusal error) error {
	flow, err := s.provider.Interaction(v.r, v.flow.ID) // as it is by now
	if err != nil {
		return err
	}
	if flow.Typed[sealedCodes] == "" {
		return s.refused(v, page, refusal)
	}
	s.redirect(v, at(address("recovery-codes"), flow.ID))
	return nil
}

// codesPage is the data of the page that shows recovery codes.
type codesPage struct {
	Email  string
	Codes  []string
	MadeOn string
	First  bool
}

// reachCodes reads the codes of a GET. Who has none to read is sent where they
// belong; then reached is false and the answer is written.
//
// No fresh sign-in is asked for: making the codes did, and who is asked for a
// password between reading and saving them may end up with neither.
func (s *Web) reachCodes(v *visit) (codes recoveryCodes, reached bool, err error) {
	if id := v.query.Get("flow"); id != "" {
		if err := s.resumeOwn(v, id); err != nil {
			return recoveryCodes{}, false, err
		}
	}
	codes, ok, err := s.keptCodes(v)
	if err == nil && !ok {
		s.redirect(v, address("two-step"))
	}
	return codes, ok, err
}

func (s *Web) showCodes(v *visit, _ login.Acting) error {
	codes, ok, err := s.reachCodes(v)
	if err != nil || !ok {
		return err
	}
	if _, err := s.after(v); err != nil {
		return err
	}
	return s.show(v, Page{
		Name: "recovery-codes", Wide: true,
		Data: codesPage{v.user.Email, codes.Codes, s.day(codes.MadeAt).Text, codes.First},
	})
}

// showCodesFile is the page's codes as a file.
func (s *Web) showCodesFile(v *visit, _ login.Acting) error {
	codes, ok, err := s.reachCodes(v)
	if err != nil || !ok {
		return err
	}
	text := s.frame.text
	var b strings.Builder
	for _, line := range []string{
		text.plain("recovery-codes.file_title", "brand", s.frame.brand),
		text.plain("recovery-codes.file_account", "email", v.user.Email),
		text.plain("recovery-codes.file_made", "date", s.day(codes.MadeAt).Text),
		"",
		text.plain("recovery-codes.lede"),
		text.plain("recovery-codes.file_again"),
		"",
	} {
		b.WriteString(line + "\n")
	}
	for i, code := range codes.Codes {
		fmt.Fprintf(&b, "%2d. %s\n", i+1, code)
	}
	h := v.w.Header()
	s.frame.headers(h, "")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	name := strings.ReplaceAll(s.issuer.Hostname(), ":", "-") + "-recovery-codes.txt"
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	if v.r.Method != http.MethodHead {
		_, _ = io.WriteString(v.w, b.String()) // the reader has gone: nobody to tell
	}
	return nil
}

// postCodes forgets the codes, for ever, once the person says they are saved.
func (s *Web) postCodes(v *visit, _ login.Acting) error {
	codes, ok, err := s.keptCodes(v)
	if err != nil {
		return err
	}
	if !ok {
		s.redirect(v, address("two-step"))
		return nil
	}
	if v.form.Get("saved") != "1" {
		return s.retry(v, "recovery-codes", storage.Problem{Field: "saved", Message: "codes_unsaved"})
	}
	on, err := s.after(v)
	if err != nil {
		return err
	}
	notice := "codes_replaced"
	if codes.First {
		notice = "two_step_on"
	}
	v.flow.Typed = nil
	v.flow.Page, v.flow.Notice, v.flow.Problems = "two-step", notice, nil
	if err := s.provider.SaveInteraction(v.r.Context(), v.flow); err != nil {
		return err
	}
	s.provider.SetCookie(v.w, codesCookie, "", -1)
	s.redirect(v, on)
	return nil
}

// afterwards is the name under which a flow of new codes holds the flow of the
// sign-in that led to it.
const afterwards = "afterwards"

// after is where somebody goes on who is done with recovery codes: the overview,
// or where their sign-in was going.
func (s *Web) after(v *visit) (path string, err error) {
	path = at(address("two-step"), v.flow.ID)
	id := v.flow.Typed[afterwards]
	if id == "" {
		return path, nil
	}
	flow, err := s.provider.Interaction(v.r, id)
	if errors.Is(err, storage.ErrNotFound) { // it has ended meanwhile
		return path, nil
	}
	if err != nil {
		return "", err
	}
	v.asked, err = s.provider.Asked(v.r, flow) // for the way to the app, see Frame.headers
	return s.onward(flow), err
}

// postRecoveryLow goes from the last recovery codes to new ones, and from there
// on to what waits.
func (s *Web) postRecoveryLow(v *visit) error {
	if v.session == nil || v.flow.Page != "recovery-low" {
		s.redirect(v, s.resumeAt(v.flow))
		return nil
	}
	return s.detour(v, address("recovery-codes-new"))
}

// newCodesPage is the data of the page that asks before it makes new codes.
type newCodesPage struct {
	// Back is where somebody goes who keeps the codes there are.
	Back string
}

func (s *Web) showNewCodes(v *visit, who login.Acting) error {
	if ok, err := s.confirmed(v, who); err != nil || !ok {
		return err
	}
	if !v.user.SecondFactor {
		s.redirect(v, address("two-step"))
		return nil
	}
	if ok, err := s.beginOwn(v); err != nil || !ok {
		return err
	}
	back, err := s.after(v)
	if err != nil {
		return err
	}
	s.setCodesKey(v, s.codesKey(v))
	return s.show(v, Page{Name: "recovery-codes-new", Data: newCodesPage{back}})
}

func (s *Web) postNewCodes(v *visit, who login.Acting) error {
	codes, err := s.login.NewRecoveryCodes(v.r.Context(), who)
	if err != nil {
		return s.refusedCodes(v, "recovery-codes-new", err)
	}
	return s.keepCodes(v, codes, false)
}
