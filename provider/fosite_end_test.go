package provider

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
)

// What fosite would do at introspection and revocation it cannot be asked to do:
// it answers any client about any token, takes ID tokens for access tokens,
// drops all but one audience, never verifies what it revokes, and says 200 when
// storage is down. Our handlers are introspect.go and revoke.go.
func TestFositeEndsNothing(t *testing.T) {
	p := &Provider{issuer: "https://op.example"}
	engine := compose(p)
	c, ok := engine.Config.(*engineConfig)
	if !ok {
		t.Fatalf("the engine has a %T", engine.Config)
	}
	ctx := withWork(context.Background(), &work{now: time.Now()})

	t.Run("fosite-5.12 fosite-5.21 no handler validates a token", func(t *testing.T) {
		if n := len(c.GetTokenIntrospectionHandlers(ctx)); n > 0 {
			t.Errorf("there are %d", n)
		}
		if _, _, err := engine.IntrospectToken(ctx, "token", fosite.AccessToken, newEngineSession("")); err == nil {
			t.Error("fosite calls a token valid")
		}
	})
	t.Run("fosite-5.15 no handler revokes a token", func(t *testing.T) {
		if n := len(c.GetRevocationHandlers(ctx)); n > 0 {
			t.Errorf("there are %d", n)
		}
	})
	t.Run("no handler of an endpoint is a validator or a revoker by the way", func(t *testing.T) {
		var all []any
		for _, h := range c.authorize {
			all = append(all, h)
		}
		for _, hs := range c.token {
			for _, h := range hs {
				all = append(all, h)
			}
		}
		if len(all) < 8 {
			t.Fatalf("only %d handlers were looked at", len(all))
		}
		for _, h := range all {
			switch h.(type) {
			case fosite.TokenIntrospector, fosite.RevocationHandler, *oauth2.StatelessJWTValidator, *oauth2.CoreValidator:
				t.Errorf("%T is one", h)
			}
		}
	})
	t.Run("its strategies and storage refuse what only those would ask", func(t *testing.T) {
		store := &engineStore{p}
		if err := (accessStrategy{p}).ValidateAccessToken(ctx, nil, "token"); err == nil {
			t.Error("an access token is valid")
		}
		if _, err := store.GetAccessTokenSession(ctx, "signature", nil); err == nil {
			t.Error("there is a session for an access token")
		}
		for name, err := range map[string]error{
			"revoke an access token": store.RevokeAccessToken(ctx, "id"), "revoke a refresh token": store.RevokeRefreshToken(ctx, "id"),
			"delete an access token": store.DeleteAccessTokenSession(ctx, "signature"), "delete a refresh token": store.DeleteRefreshTokenSession(ctx, "signature"),
		} {
			if err == nil {
				t.Errorf("%s: done", name)
			}
		}
	})

	// unreachable are the ways into fosite's own answers.
	unreachable := []string{
		"StatelessJWTValidator", "CoreValidator", "TokenRevocationHandler", "NewIntrospectionRequest", "WriteIntrospectionResponse",
		"WriteIntrospectionError", "IntrospectToken", "NewRevocationRequest", "WriteRevocationResponse", "AccessTokenFromRequest",
		"NewJWTClaimsContainer", "Compose", "ComposeAllEnabled",
	}
	t.Run("no code of ours names fosite's introspection or revocation", func(t *testing.T) {
		files, named := 0, 0
		err := fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // another test has removed what it made
			}
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), "../"+path, nil, 0)
			if err != nil {
				return err
			}
			ours := map[string]bool{}
			for _, i := range f.Imports {
				at := strings.Trim(i.Path.Value, `"`)
				if at != "github.com/ory/fosite" && !strings.HasPrefix(at, "github.com/ory/fosite/") {
					continue
				}
				name := at[strings.LastIndex(at, "/")+1:]
				if i.Name != nil {
					name = i.Name.Name
				}
				ours[name] = true
			}
			if len(ours) == 0 {
				return nil
			}
			files++
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				named++
				if slices.Contains(unreachable, s.Sel.Name) {
					t.Errorf("%s names %s", path, s.Sel.Name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if files < 4 || named < 100 {
			t.Fatalf("only %d files with %d names were looked at", files, named)
		}
	})
	t.Run("the program does not link what composes everything", func(t *testing.T) {
		out, err := exec.Command("go", "list", "-deps", "../cmd/gatehouse").Output()
		if err != nil {
			t.Fatal(err)
		}
		deps := strings.Fields(string(out))
		if !slices.Contains(deps, "github.com/ory/fosite/handler/oauth2") {
			t.Fatal("go list does not name what is linked")
		}
		for _, never := range []string{
			"github.com/ory/fosite/compose", "github.com/ory/fosite/handler/rfc7523", "github.com/ory/fosite/integration",
		} {
			if slices.Contains(deps, never) {
				t.Errorf("it links %s", never)
			}
		}
	})
}
