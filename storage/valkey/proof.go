package valkey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A proof that was used is a key, and the birth of the memory, in milliseconds
// by the server's clock, is another that does not expire. A wipe takes both.
const (
	proofBirth = "{proof}:birth"
	proofSpent = "{proof}:spent:"
)

// proofSlack is how much longer than its time Valkey keeps a proof, so that the
// time given decides whether it is expired.
const proofSlack = 10 * time.Second

var (
	setBirth = valkey.NewLuaScript(serverClock + `
redis.call('SET', KEYS[1], string.format('%.0f', now), 'NX')
return now`)

	spendProof = valkey.NewLuaScript(serverClock + `
redis.call('SET', KEYS[1], string.format('%.0f', now), 'NX')
local birth = tonumber(redis.call('GET', KEYS[1]))
if redis.call('EXISTS', KEYS[2]) == 1 then return {0, now - birth} end
redis.call('SET', KEYS[2], 1, 'PX', ARGV[1])
return {1, now - birth}`)
)

// SpendProof implements [storage.Proofs].
//
// How old the proof is and how old the memory is are compared, so that two
// clocks need not agree. The proof's age is taken when the answer is there: it
// was not older when the server looked.
func (d *DB) SpendProof(ctx context.Context, p storage.Proof, now time.Time) error {
	life := between(now, p.Until)
	if life <= 0 {
		return storage.ErrSpent
	}
	start := time.Now()
	sum := sha256.Sum256([]byte(fmt.Sprintf("%d:%s%s", len(p.Issuer), p.Issuer, p.ID)))
	answer, err := d.runOn(ctx, spendProof, []string{proofBirth, proofSpent + hex.EncodeToString(sum[:])},
		milliseconds(life+proofSlack)).AsIntSlice()
	if err != nil {
		return fmt.Errorf("valkey: spend proof: %w", err)
	}
	if len(answer) != 2 {
		return errors.New("valkey: spend proof: the server's answer is not understood")
	}
	// Of two times in whole milliseconds: it may be younger by nearly one.
	unused, memory := answer[0] == 1, time.Duration(answer[1]-1)*time.Millisecond
	took := time.Since(start)
	if !unused || now.Sub(p.IssuedAt)+took > memory || took >= life {
		return storage.ErrSpent
	}
	return nil
}

// born gives a memory that has none its birth.
func (d *DB) born(ctx context.Context) error {
	if err := d.run(ctx, setBirth, proofBirth).Error(); err != nil {
		return fmt.Errorf("valkey: birth: %w", err)
	}
	return nil
}
