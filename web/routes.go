package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/gatehouse-id/gatehouse/login"
)

// routes is every address of the server, in one place.
func (s *Web) routes() (http.Handler, error) {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.RedirectFixedPath = false
	e.UseRawPath = true // the id of an app may have a slash
	e.ForwardedByClientIP = false
	if err := e.SetTrustedProxies(nil); err != nil {
		return nil, fmt.Errorf("web: trust no proxy: %w", err)
	}
	if s.route != nil {
		e.Use(func(c *gin.Context) { s.route(c.Request.Context(), c.FullPath()) })
	}
	e.Use(s.recovered((*Web).fault), s.guard)
	e.NoRoute(s.always(http.StatusNotFound, "not_found"))
	e.NoMethod(s.always(http.StatusMethodNotAllowed, "method"))

	// The protocol, for apps. The provider knows the methods of each.
	app := e.Group("/", s.recovered((*Web).faultJSON))
	app.Any("/token", s.within(s.provider.Token))
	app.Any("/userinfo", s.within(s.provider.UserInfo))
	app.Any("/introspect", s.within(s.provider.Introspect))
	app.Any("/revoke", s.within(s.provider.Revoke))
	app.Any("/gateway/check", s.within(s.provider.GatewayCheck))
	app.Any("/connect/register", s.within(s.provider.Register))
	app.Any("/connect/register/:id", s.within(s.provider.ClientConfiguration))
	app.Any("/jwks", gin.WrapF(s.provider.JWKS))
	app.Any("/jwks/:id", s.within(s.provider.GatewayKeys))
	app.Any("/.well-known/openid-configuration", gin.WrapF(s.provider.Discovery))
	app.Any("/.well-known/oauth-authorization-server", gin.WrapF(s.provider.Discovery))

	// The protocol, for browsers.
	e.GET("/authorize", s.within(s.provider.Authorize))
	e.POST("/authorize", s.within(s.provider.Authorize))

	// The pages.
	get := func(path string, show func(*Web, *visit) error) {
		h := s.within(s.get(show))
		e.GET(path, h)
		e.HEAD(path, h)
	}
	post := func(path string, act func(*Web, *visit) error) { e.POST(path, s.within(s.post(path, act))) }
	get("/", (*Web).home)
	get("/login", (*Web).showLogin)
	post("/login", (*Web).postLogin)
	get("/register", (*Web).showRegister)
	post("/register", (*Web).postRegister)
	get("/register/protect", (*Web).showProtect)
	post("/register/protect", (*Web).postProtect)
	get("/verify", (*Web).showVerify)
	post("/verify", (*Web).postVerify)
	get("/login/select", (*Web).showSelect)
	post("/login/select", (*Web).postSelect)
	get("/login/code", (*Web).showCode)
	post("/login/code", (*Web).postCode)
	get("/login/recovery", (*Web).showRecovery)
	post("/login/recovery", (*Web).postRecovery)
	get("/login/recovery/low", (*Web).showRecoveryLow)
	post("/login/recovery/low", (*Web).postRecoveryLow)
	get("/reset", (*Web).showReset)
	post("/reset", (*Web).postReset)
	get("/reset/verify", (*Web).showResetVerify)
	post("/reset/verify", (*Web).postResetVerify)
	get("/reset/password", (*Web).showResetPassword)
	post("/reset/password", (*Web).postResetPassword)
	get("/consent", (*Web).showConsent)
	post("/consent", (*Web).postConsent)
	get("/help/lost-access", (*Web).showLostAccess)
	get("/paused", (*Web).showPaused)
	get("/limited", (*Web).showLimited)
	own := func(path string, show, act func(*Web, *visit, login.Acting) error) {
		get(path, signedIn(show))
		if act != nil {
			e.POST(path, s.within(s.postOwn(act)))
		}
	}
	own("/account", (*Web).showAccount, nil)
	own("/account/password", (*Web).showPassword, (*Web).postPassword)
	own("/account/devices", (*Web).showDevices, (*Web).postDevices)
	own("/account/devices/others", (*Web).showOtherDevices, (*Web).postOtherDevices)
	own("/account/apps", (*Web).showApps, nil)
	own("/account/apps/:id", (*Web).showApp, nil)
	own("/account/apps/:id/remove", (*Web).showRemoveApp, (*Web).postRemoveApp)
	own("/account/activity", (*Web).showActivity, nil)
	own("/account/confirm", (*Web).showConfirm, (*Web).postConfirm)
	own("/account/two-step", (*Web).showTwoStep, nil)
	own("/account/two-step/app", (*Web).showEnrol, (*Web).postEnrol)
	get("/account/two-step/qr.svg", (*Web).showQR)
	own("/account/two-step/off", (*Web).showTwoStepOff, (*Web).postTwoStepOff)
	own("/account/two-step/recovery", (*Web).showCodes, (*Web).postCodes)
	own("/account/two-step/recovery.txt", (*Web).showCodesFile, nil)
	own("/account/two-step/recovery/new", (*Web).showNewCodes, (*Web).postNewCodes)
	get("/.well-known/change-password", (*Web).changePassword)
	get("/logout", (*Web).showLogout)
	e.POST("/logout", s.within(s.receiveLogout))
	get("/signed-out", (*Web).showSignedOut)
	get("/languages", (*Web).showLanguages)
	post("/languages", (*Web).postLanguages)

	// What pages are made of, and what watches the server.
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Handle(method, "/assets/*file", gin.WrapF(s.asset))
		e.Handle(method, "/livez", gin.WrapF(s.livez))
		e.Handle(method, "/healthz", gin.WrapF(s.livez))
		e.Handle(method, "/readyz", gin.WrapF(s.readyz))
	}

	if s.dev != nil {
		e.Any("/dev", gin.WrapH(s.dev))
		e.Any("/dev/*path", gin.WrapH(s.dev))
	}
	return e, nil
}

// within is h for requests that wait for databases, which they do for as long as
// Config.Patience at most.
func (s *Web) within(h http.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), s.patience)
		defer cancel()
		h(c.Writer, c.Request.WithContext(ctx))
	}
}
