package storagetest

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// filled returns a T in which every field has a value of its own, so that one
// that is forgotten on its way to the database and back is seen. It panics at a
// kind of field that it does not know.
func filled[T any]() T {
	var v T
	n := 0
	fill(reflect.ValueOf(&v).Elem(), "", &n)
	return v
}

func fill(v reflect.Value, name string, n *int) {
	*n++
	// What JSON and SQL have a meaning for comes back too.
	text := name + ` "<&>' é` + string(rune('a'+*n%26))
	switch v.Interface().(type) {
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(`{"keys":[{"kty":"EC"}]}`)))
		return
	case time.Time:
		v.Set(reflect.ValueOf(after(time.Duration(*n) * time.Second)))
		return
	case []byte:
		v.Set(reflect.ValueOf(sum(text)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), name, n)
		fill(v.Index(1), name, n)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name, n)
		}
	default:
		panic("storagetest: " + name + " is a " + v.Kind().String())
	}
}

// testRecords has every field of every record there and back.
func testRecords(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	client := func() storage.Client {
		c := filled[storage.Client]()
		c.ID, c.AuthMethod = newID(), storage.AuthPrivateKey
		c.RefreshGrace = new(time.Second)
		return c
	}
	t.Run("a client", func(t *testing.T) {
		c := client()
		must(t, db.CreateClient(ctx, c))
		got, err := db.Client(ctx, c.ID)
		must(t, err)
		equal(t, "client", got, c)
		listed, err := db.ListClients(ctx, "", 10)
		must(t, err)
		equal(t, "clients", listed, []storage.Client{c})
	})
	t.Run("a client that is updated, whose use is not", func(t *testing.T) {
		c := client()
		must(t, db.CreateClient(ctx, storage.Client{
			ID: c.ID, AuthMethod: storage.AuthNone, CreatedAt: c.CreatedAt, UpdatedAt: noon,
			Registration: &storage.DynamicRegistration{TokenHash: sum("before"), UsedAt: noon},
		}))
		must(t, db.UpdateClient(ctx, c))
		c.Registration.UsedAt = noon
		got, err := db.Client(ctx, c.ID)
		must(t, err)
		equal(t, "client", got, c)
	})
	t.Run("a user", func(t *testing.T) {
		u := filled[storage.User]()
		u.ID, u.Status = newID(), storage.UserActive
		u.SecondFactor = false // Factors alone change it.
		must(t, db.CreateUser(ctx, u, "hash"))
		wantUser(t, db, u)
	})
	t.Run("a profile that is set", func(t *testing.T) {
		u := addUser(t, db)
		u.Profile, u.Name, u.UpdatedAt = filled[storage.Profile](), "Augusta Ada King", after(time.Hour)
		must(t, db.SetProfile(ctx, u.ID, u.Name, u.Profile, u.UpdatedAt))
		wantUser(t, db, u)

		g := addGrant(t, db, u)
		_, of, err := db.LiveGrant(ctx, g.ID, noon)
		must(t, err)
		equal(t, "the user of a grant", of, u)

		u.Profile.Locale, u.UpdatedAt = `ne"}`, after(2*time.Hour)
		must(t, db.SetLocale(ctx, u.ID, u.Profile.Locale, u.UpdatedAt))
		wantUser(t, db, u)

		u.Profile = storage.Profile{}
		must(t, db.SetProfile(ctx, u.ID, u.Name, u.Profile, u.UpdatedAt))
		wantUser(t, db, u)
		u.Profile.Locale = "de-AT"
		must(t, db.SetLocale(ctx, u.ID, u.Profile.Locale, u.UpdatedAt))
		wantUser(t, db, u)
		want(t, "SetProfile", db.SetProfile(ctx, newID(), "", storage.Profile{}, noon), storage.ErrNotFound)
		want(t, "SetLocale", db.SetLocale(ctx, newID(), "ne", noon), storage.ErrNotFound)
	})
	t.Run("a session", func(t *testing.T) {
		u := addUser(t, db)
		s := filled[storage.Session]()
		s.UserID, s.UserEpoch = u.ID, u.Epoch
		must(t, db.CreateSession(ctx, s, ""))
		got, _, err := db.SessionBySecret(ctx, s.SecretHash, noon)
		must(t, err)
		equal(t, "session", got, s)
	})
	t.Run("a grant", func(t *testing.T) {
		u := addUser(t, db)
		g := filled[storage.Grant]()
		g.UserID, g.UserEpoch = u.ID, u.Epoch
		g.RevokedAt = noon // of a session that is not there
		must(t, db.CreateGrant(ctx, g))
		equal(t, "by its handle", grant(t, db, g), g)
		got, err := db.GrantByID(ctx, g.ID)
		must(t, err)
		equal(t, "by its id", got, g)
		_, err = db.GrantByID(ctx, newID())
		want(t, "GrantByID", err, storage.ErrNotFound)

		g = filled[storage.Grant]()
		g.ID, g.HandleHash, g.RotatedAt, g.RevokedAt = newID(), nil, time.Time{}, noon
		must(t, db.ReplayGrant(ctx, g, noon))
		got, err = db.GrantByID(ctx, g.ID)
		must(t, err)
		equal(t, "replayed", got, g)
	})
	t.Run("a grant keeps its claims when it is rotated, also of one kind", func(t *testing.T) {
		g := addGrant(t, db, addUser(t, db), func(g *storage.Grant) { g.Claims.IDToken = []string{"auth_time"} })
		got, _, err := db.Rotate(ctx, rotation(g))
		must(t, err)
		equal(t, "claims", got.Claims, g.Claims)
	})
	t.Run("a gateway", func(t *testing.T) {
		g := filled[storage.Gateway]()
		must(t, db.CreateGateway(ctx, g))
		want(t, "CreateGateway", db.CreateGateway(ctx, g), storage.ErrConflict)
		got, err := db.Gateway(ctx, g.ID)
		must(t, err)
		equal(t, "gateway", got, g)

		older := storage.Gateway{ID: "z", Name: "older", CreatedAt: after(-time.Hour)}
		must(t, db.CreateGateway(ctx, older))
		listed, err := db.ListGateways(ctx)
		must(t, err)
		equal(t, "gateways", listed, []storage.Gateway{older, g})

		must(t, db.GatewayFetched(ctx, older.ID, []string{"key 1", "key 2"}, noon))
		older.SeenKeys, older.FetchedAt = []string{"key 1", "key 2"}, noon
		must(t, db.DeleteGateway(ctx, g.ID))
		listed, err = db.ListGateways(ctx)
		must(t, err)
		equal(t, "gateways", listed, []storage.Gateway{older})

		_, err = db.Gateway(ctx, g.ID)
		want(t, "Gateway", err, storage.ErrNotFound)
		want(t, "GatewayFetched", db.GatewayFetched(ctx, g.ID, nil, noon), storage.ErrNotFound)
		want(t, "DeleteGateway", db.DeleteGateway(ctx, g.ID), storage.ErrNotFound)
	})
}

func testLogos(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	c := newClient("pictured")
	must(t, db.CreateClient(ctx, c))
	none := func(t *testing.T, id string) {
		t.Helper()
		_, err := db.Logo(ctx, id)
		want(t, "Logo", err, storage.ErrNotFound)
	}

	t.Run("a client has none at first", func(t *testing.T) { none(t, c.ID) })
	t.Run("a logo comes back as it was, and is replaced", func(t *testing.T) {
		for _, l := range []storage.Logo{
			{Type: "image/png", Bytes: []byte{0, 1, 254, 255}},
			{Type: "image/svg+xml", Bytes: []byte("<svg/>")},
		} {
			must(t, db.SetLogo(ctx, c.ID, l))
			got, err := db.Logo(ctx, c.ID)
			must(t, err)
			equal(t, "logo", got, l)
		}
		got, err := db.Client(ctx, c.ID)
		must(t, err)
		equal(t, "client", got, c)
	})
	t.Run("one without bytes removes it, also when there is none", func(t *testing.T) {
		for range 2 {
			must(t, db.SetLogo(ctx, c.ID, storage.Logo{}))
			none(t, c.ID)
		}
	})
	t.Run("an unknown client has none", func(t *testing.T) {
		want(t, "SetLogo", db.SetLogo(ctx, "nobody", storage.Logo{Type: "image/png", Bytes: []byte("x")}), storage.ErrNotFound)
		want(t, "SetLogo", db.SetLogo(ctx, "nobody", storage.Logo{}), storage.ErrNotFound)
		none(t, "nobody")
	})
	t.Run("a deleted client takes it along", func(t *testing.T) {
		must(t, db.SetLogo(ctx, c.ID, storage.Logo{Type: "image/png", Bytes: []byte("x")}))
		must(t, db.DeleteClient(ctx, c.ID, noon))
		must(t, db.CreateClient(ctx, c))
		none(t, c.ID)
	})
}

func testDynamicClients(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	day := 24 * time.Hour
	add := func(t *testing.T, id string, made, used time.Time) storage.Client {
		t.Helper()
		c := newClient(id)
		c.CreatedAt = made
		c.Registration = &storage.DynamicRegistration{TokenHash: sum(id), UsedAt: used}
		must(t, db.CreateClient(ctx, c))
		return c
	}
	count := func(t *testing.T, want int) {
		t.Helper()
		n, err := db.CountDynamicClients(ctx)
		must(t, err)
		equal(t, "dynamic clients", n, want)
	}
	there := func(t *testing.T, c storage.Client) {
		t.Helper()
		got, err := db.Client(ctx, c.ID)
		must(t, err)
		equal(t, "client", got, c)
	}
	long := after(-100 * day)
	static := newClient("static")
	static.CreatedAt = long
	must(t, db.CreateClient(ctx, static))

	t.Run("those that registered themselves are counted", func(t *testing.T) {
		count(t, 0)
		add(t, "counted", noon, time.Time{})
		count(t, 1)
		must(t, db.DeleteClient(ctx, "counted", noon))
		count(t, 0)
	})
	t.Run("only their use is written down, and only forwards", func(t *testing.T) {
		c := add(t, "used", long, time.Time{})
		for _, at := range []time.Time{noon, after(-day)} {
			must(t, db.ClientUsed(ctx, c.ID, at))
			c.Registration.UsedAt = noon
			there(t, c)
		}
		must(t, db.ClientUsed(ctx, static.ID, noon))
		there(t, static)
		must(t, db.ClientUsed(ctx, "nobody", noon))
	})
	t.Run("the token can be changed", func(t *testing.T) {
		c := add(t, "rotated", noon, noon)
		c.Registration.TokenHash = sum("another")
		must(t, db.UpdateClient(ctx, c))
		there(t, c)
	})
	t.Run("those unused for long are removed, so many at a time, as if deleted", func(t *testing.T) {
		h := newHousehold(t, db)
		old := add(t, "old", long, after(-91*day))
		older := add(t, "older", after(-92*day), time.Time{})
		oldest := add(t, "oldest", long, after(-93*day))
		young := add(t, "young", after(-day), time.Time{})
		g := addGrant(t, db, h.user, func(g *storage.Grant) { g.ClientID = oldest.ID })
		must(t, db.PutConsent(ctx, storage.Consent{UserID: h.user.ID, ClientID: oldest.ID, GrantedAt: noon}))

		since, last := after(-90*day), lastRevocation(t, db)
		for _, step := range []struct{ want, left int }{{2, 4}, {1, 3}, {0, 3}} {
			n, err := db.DeleteUnusedClients(ctx, since, ending, 2)
			must(t, err)
			equal(t, "removed", n, step.want)
			count(t, step.left)
		}
		for _, c := range []storage.Client{old, older, oldest} {
			_, err := db.Client(ctx, c.ID)
			want(t, c.ID, err, storage.ErrNotFound)
		}
		there(t, young)
		there(t, static)
		_, err := db.Consent(ctx, h.user.ID, oldest.ID)
		want(t, "Consent", err, storage.ErrNotFound)
		equal(t, "revoked", grant(t, db, g).RevokedAt, ending)
		revocation := func(kind storage.RevocationKind, key string) storage.Revocation {
			at := ending
			if kind == storage.RevokedClient {
				at = at.Add(storage.ClientMemory)
			}
			return storage.Revocation{Kind: kind, Key: key, At: at, Until: dead(at)}
		}
		wantRevocations(t, db, last, []storage.Revocation{
			revocation(storage.RevokedClient, old.ID),
			revocation(storage.RevokedClient, older.ID),
			revocation(storage.RevokedClient, oldest.ID),
			revocation(storage.RevokedGrant, g.ID),
		})
	})
	t.Run("one that is used at the last moment stays", func(t *testing.T) {
		var clients [40]storage.Client
		for i := range clients {
			clients[i] = add(t, newID(), long.Add(time.Duration(i)*time.Minute), time.Time{})
		}
		// They are removed the longest unused first; the other side comes towards
		// that.
		var used []storage.Client
		together(2, func(i int) {
			if i == 0 {
				if _, err := db.DeleteUnusedClients(ctx, after(-90*day), noon, 100); err != nil {
					t.Error(err)
				}
				return
			}
			for _, c := range slices.Backward(clients[:]) {
				if err := db.ClientUsed(ctx, c.ID, noon); err != nil {
					t.Error(err)
				}
				if got, err := db.Client(ctx, c.ID); err == nil && got.Registration.UsedAt.Equal(noon) {
					used = append(used, got)
				}
			}
		})
		for _, c := range used {
			there(t, c)
		}
		for _, c := range clients {
			kept := slices.ContainsFunc(used, func(u storage.Client) bool { return u.ID == c.ID })
			if _, err := db.Client(ctx, c.ID); err == nil && !kept {
				t.Errorf("%s was not used and is not removed", c.ID)
			}
		}
	})
}
